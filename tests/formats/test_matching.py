"""Ids that differ are matched by a named rule only, and only where no two could be meant."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.errors import AlignmentError, OptionError
from dafm_core.formats.matching import (
    RULES,
    find_rule,
    match_all,
    match_or_explain,
    parse_rule,
    translate,
)

WANTED = ["img01", "img02", "img10"]
SPELLINGS = {
    "extension": (["img01.jpg", "img02.jpg", "img10.png"], WANTED),
    "basename": (["./val/img01", "val\\img02", "/img10"], WANTED),
    "basename+extension": (["./val/img01.png", "val/img02.JPG", "img10.jpeg"], WANTED),
    "zeros": (["img1", "img2", "img10"], WANTED),
    "decimal": (["0.0", "1.0", "10.0"], ["0", "1", "10"]),
    "case": (["IMG01 ", "Img02", "img10"], WANTED),
    "extension+zeros": (["000000001000.jpg", "000000000007.jpg"], ["1000", "7"]),
    "basename+extension+zeros": (["val2017/000000001000.jpg"], ["1000"]),
    "extension ": (["img01", "img02", "img10"], ["img01.jpg", "img02.jpg", "img10.jpg"]),
}


@pytest.mark.parametrize(("rule", "sides"), SPELLINGS.items(), ids=SPELLINGS)
def test_the_rule_with_the_fewest_changes_is_named_and_then_accepted(rule, sides, rng):
    ids, wanted = sides
    order = rng.permutation(len(ids))
    ids = [ids[i] for i in order]
    rule = rule.strip()
    with pytest.raises(AlignmentError, match="are unknown to the store") as raised:
        match_or_explain(ids, wanted, (), what="image", where="f")
    assert str(raised.value).endswith(f"confirm it with --ids {rule}.")
    match = match_or_explain(ids, wanted, parse_rule(rule), what="image", where="f")
    np.testing.assert_array_equal(match.order, np.argsort(order))


def test_a_superset_aligns_by_id():
    match = match_or_explain(["x", "b", "y", "a", "y"], ["a", "b"], (), what="image", where="f")
    assert (match.order.tolist(), match.n_left_out) == ([3, 1], 3)


@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        (["1.jpg", "1.png"], ["1"]),  # which of the two?
        (["1"], ["1.jpg", "1.png"]),
        (["a", "a"], ["a"]),
        (["a"], ["a", "b"]),
        (["train/1", "val/1"], ["1"]),
    ],
)
def test_what_two_could_mean_is_never_matched(ids, wanted):
    assert find_rule(ids, wanted) is None
    with pytest.raises(AlignmentError):
        match_or_explain(ids, wanted, tuple(RULES), what="image", where="f")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "z"], "1 image ids are unknown to the store, e.g. 'z', and 1 image ids are missing"),
        (["a"], "f: 1 image ids are missing, e.g. 'b'"),
        (["a", "b", "b"], "1 image ids stand twice, e.g. 'b'"),
    ],
)
def test_what_is_wrong_is_counted_and_named(ids, message):
    with pytest.raises(AlignmentError, match=message):
        match_or_explain(ids, ["a", "b"], (), what="image", where="f")


def test_unknown_rules():
    assert parse_rule(None) == ()
    with pytest.raises(OptionError, match="no rule 'extention' for ids; did you mean 'extension'"):
        parse_rule("basename+extention")


NAMES = st.lists(st.text("ab01./", min_size=1, max_size=6), min_size=1, max_size=6, unique=True)


@given(ids=NAMES, wanted=NAMES, rule=st.sets(st.sampled_from(list(RULES))))
def test_a_match_is_one_to_one(ids, wanted, rule):
    rule = tuple(sorted(rule))
    match = match_all(ids, wanted, rule)
    if match is not None:
        assert len(set(match.order.tolist())) == len(wanted)
        assert match.n_left_out == len(ids) - len(wanted)
    names = translate(ids, wanted, rule)
    assert len(set(names.values())) == len(names)
    assert set(names.values()) <= set(wanted)
