from __future__ import annotations

import pytest

from dafm_core.scenes.reading import COLORS, SHAPES, read


@pytest.mark.parametrize(
    ("text", "actions"),
    [
        ("remove the red circle", ["remove"]),
        ("a star instead of the ring", ["swap"]),
        ("the same but move it to the top left, and make the box blue", ["move", "change"]),
        ("there is also a pink heart; also have exactly two red stars", ["add", "count"]),
        ("three blue squares", ["count"]),
        ("", []),
    ],
)
def test_clauses_and_their_actions(text, actions):
    found = [clause.action for clause in read(text) if len(clause.words) > 2]
    assert found == actions


def test_exchange_reads_order_and_instead():
    (clause,) = read("make the red one blue")
    assert clause.exchange(COLORS) == (COLORS["red"], COLORS["blue"])
    (clause,) = read("blue instead of red for the thing")
    assert clause.exchange(COLORS) == (COLORS["red"], COLORS["blue"])
    (clause,) = read("paint the circle blue")
    assert clause.exchange(COLORS) == (None, COLORS["blue"])
    assert clause.exchange(SHAPES) == (None, SHAPES["circle"])
    (clause,) = read("make it crimson-ish and")
    assert clause.exchange(COLORS) == (None, COLORS["red"])


@pytest.mark.parametrize(
    ("text", "have", "amount"),
    [("three discs instead of one", 1, 3), ("exactly two", 5, 2), ("more", 2, 3), ("fewer", 0, 0)],
)
def test_amounts(text, have, amount):
    (clause,) = read(text)
    assert clause.amount(have) == amount


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("to the upper right corner", (0, 2)),
        ("shift it down", (2, 1)),
        ("in the middle left", (1, 0)),
        ("at the centre", (1, 1)),
        ("paint it red", None),
    ],
)
def test_places(text, place):
    (clause,) = read(text)
    assert clause.place() == place
