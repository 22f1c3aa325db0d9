"""Best first: equal to a full sort, whatever the depth, and ties know nothing of the gallery."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.ground.ordering import best_first, best_of_rows, best_ranked, tie_places

SCORES = st.lists(st.sampled_from([-np.inf, -2.0, -1.0, 0.0, 0.5, 3.0]), min_size=1, max_size=30)


@given(scores=SCORES, depth=st.integers(1, 40))
def test_both_equal_a_full_sort(scores, depth):
    row = np.array(scores, np.float32)
    places = tie_places([f"img{i}" for i in range(len(row))])
    expected = sorted(range(len(row)), key=lambda i: (-row[i], places[i]))
    assert best_first(row, places, depth).tolist() == expected[:depth]
    ranked = [i for i in expected if row[i] > -np.inf]
    assert best_ranked(row, places, depth).tolist() == ranked[:depth]
    signed = np.where(np.arange(len(row)) % 2, np.float32(0), np.float32(-0.0))  # level
    rows = best_of_rows(np.stack([row, signed]), np.stack([places, places]), depth)
    assert rows.tolist() == [expected[:depth], np.argsort(places).tolist()[:depth]]


@given(order=st.permutations(range(12)))
def test_ties_are_broken_alike_in_any_order_of_the_gallery(order):
    ids = [f"img{i}" for i in range(12)]
    moved = [ids[i] for i in order]
    flat = np.zeros(12, np.float32)
    straight = [ids[i] for i in best_ranked(flat, tie_places(ids), 5)]
    assert [moved[i] for i in best_ranked(flat, tie_places(moved), 5)] == straight


def test_ties_do_not_follow_the_gallery():
    places = tie_places([f"img{i}" for i in range(400)])
    assert sorted(places) == list(range(400))
    assert abs(np.corrcoef(places, np.arange(400))[0, 1]) == pytest.approx(0, abs=0.15)
