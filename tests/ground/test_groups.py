"""Groups stay whole, whatever is dealt, held out or joined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.errors import DatasetError
from dafm_core.ground.groups import connected_groups, deal_groups, grouped_folds, held_out_rows

GROUPS = st.lists(st.integers(0, 12), min_size=15, max_size=80)


def are_whole(parts, groups):
    """Whether every group is in one part only."""
    pairs = set(zip(groups, parts, strict=True))
    return len(pairs) == len(set(groups))


@given(GROUPS.filter(lambda g: len(set(g)) >= 4), st.integers(2, 4), st.integers(0, 5))
def test_folds_part_the_groups(groups, n_folds, seed):
    fold = grouped_folds(groups, n_folds, seed=seed)
    assert set(fold) == set(range(n_folds))
    assert are_whole(fold.tolist(), groups)
    assert (fold == grouped_folds(groups, n_folds, seed=seed)).all()


@given(GROUPS.filter(lambda g: len(set(g)) >= 4), st.integers(2, 4))
def test_no_fold_is_larger_than_another_by_more_than_the_largest_group(groups, n_folds):
    sizes = np.bincount(grouped_folds(groups, n_folds))
    assert sizes.max() - sizes.min() <= max(np.bincount(groups))


def test_folds_are_of_about_equal_size():
    fold = grouped_folds(np.repeat(np.arange(100), 7), 5)
    assert np.bincount(fold).tolist() == [140] * 5


@pytest.mark.parametrize("n_folds", [0, 1, 4])
def test_impossible_folds_are_refused(n_folds):
    with pytest.raises(DatasetError, match="expected between 2 and 3"):
        grouped_folds(["a", "b", "c"], n_folds)


@given(GROUPS, st.integers(1, 20), st.integers(0, 5))
def test_a_deal_gives_each_fold_as_many_groups_as_the_next(groups, n_folds, seed):
    fold = deal_groups(groups, n_folds, seed=seed)
    assert are_whole(fold.tolist(), groups)
    n_groups = len(set(groups))
    dealt = [len({g for g, f in zip(groups, fold, strict=True) if f == n}) for n in range(n_folds)]
    assert sum(dealt) == n_groups
    assert max(dealt) - min(dealt) <= 1
    assert (fold == deal_groups(groups, n_folds, seed=seed)).all()


@given(GROUPS.filter(lambda g: len(set(g)) >= 2), st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_share_of_the_groups_is_held_out_with_all_their_rows(groups, test_size, seed):
    names = [f"set{g}" for g in groups]
    held_out = held_out_rows(names, test_size=test_size, seed=seed, where="toy")
    assert are_whole(held_out.tolist(), names)
    n_groups = len(set(names))
    n_held_out = len({name for name, out in zip(names, held_out, strict=True) if out})
    assert n_held_out == min(max(1, round(test_size * n_groups)), n_groups - 1)
    again = held_out_rows(names[::-1], test_size=test_size, seed=seed, where="toy")
    assert (again[::-1] == held_out).all()  # the order of rows decides nothing


@pytest.mark.parametrize("test_size", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("n_groups", [2, 3])
def test_a_split_leaves_a_group_on_either_side(n_groups, test_size):
    names = [f"set{g}" for g in range(n_groups)] * 4
    held_out = held_out_rows(names, test_size=test_size, seed=0, where="toy")
    assert 0 < held_out.sum() < len(names)


def test_impossible_splits_are_refused():
    with pytest.raises(DatasetError, match="toy: expected at least two groups to split, got 1"):
        held_out_rows(["a", "a"], test_size=0.5, seed=0, where="toy")
    for test_size in (0.0, 1.0, -0.5):
        with pytest.raises(DatasetError, match=r"toy: expected test_size in \(0, 1\)"):
            held_out_rows(["a", "b"], test_size=test_size, seed=0, where="toy")


def test_connected_groups_agree_with_a_search(rng):
    rows = [list(map(int, rng.integers(0, 60, size=2))) for _ in range(50)]
    reached = []
    for start in range(len(rows)):
        names, before = set(rows[start]), set()
        while names != before:
            before = set(names)
            names |= {name for row in rows if names & set(row) for name in row}
        reached.append(min(i for i, row in enumerate(rows) if names & set(row)))
    assert connected_groups(rows) == reached
    assert len(set(reached)) > 3
