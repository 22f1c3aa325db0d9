"""Groups dealt into folds whole."""

import numpy as np

from dafm_core.ground.groups import deal_groups


def test_dealt_groups_stay_whole_and_folds_about_even():
    groups = np.repeat(np.arange(25), 4).astype(str)
    fold = deal_groups(groups, 5, seed=0)
    assert all(len(set(fold[groups == g])) == 1 for g in set(groups))
    assert np.bincount(fold).tolist() == [20] * 5
    assert set(deal_groups(["a", "a"], 5, seed=0)) == {0}
    assert not np.array_equal(fold, deal_groups(groups, 5, seed=1))
