"""Pairs with the target alone pull as LightGBM's own LambdaRank does."""

import lightgbm
import numpy as np
import pytest
from dafm_plugin_lambdamart.objective import N_FIRST, OneTarget

SETTINGS = {
    "learning_rate": 0.1,
    "num_leaves": 4,
    "min_data_in_leaf": 20,
    "seed": 0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


@pytest.mark.parametrize("n_candidates", [2, 30, 260])
def test_trees_are_those_of_lightgbms_own_objective(n_candidates):
    rng = np.random.default_rng(0)
    n_queries = 60
    target = rng.integers(0, n_candidates, n_queries)
    drawn = rng.random((n_queries, n_candidates)) < 0.9
    drawn[np.arange(n_queries), target] = True
    is_target = np.arange(n_candidates) == target[:, None]
    features = rng.normal(size=(n_queries, n_candidates, 3)) + is_target[:, :, None]
    features[0] = 1  # candidates that are level
    start = features.mean(axis=2)

    def trained(objective):
        data = lightgbm.Dataset(
            features[drawn],
            is_target[drawn].astype(np.int32),
            group=drawn.sum(axis=1),
            init_score=start[drawn],
        )
        own = {"lambdarank_truncation_level": N_FIRST}
        booster = lightgbm.train(SETTINGS | own | {"objective": objective}, data, 10)
        return booster.predict(features.reshape(-1, 3), raw_score=True)

    expected = trained("lambdarank")
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(trained(OneTarget(drawn, target)), expected, atol=1e-4)


def test_pulls_cancel_out_and_reach_the_first_hundred_alone():
    n_candidates, last = 300, 299
    scores = -np.arange(n_candidates) / 100
    pull = OneTarget(np.ones((1, n_candidates), bool), np.array([last]))
    gradient, curvature = pull(scores, None)
    assert gradient[last] < 0 < curvature[last]
    assert gradient.sum() == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(gradient > 0), np.arange(N_FIRST))
