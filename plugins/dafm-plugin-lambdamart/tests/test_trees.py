"""Trees evaluated many candidates at a time add what LightGBM says, to the bit."""

import lightgbm
import numpy as np
import pytest
from dafm_plugin_lambdamart import trees as module
from dafm_plugin_lambdamart.fuser import LambdaMartFusion
from dafm_plugin_lambdamart.trees import N_LEAVES, Trees

from dafm_core.testing import FuserSubject

N_QUERIES, N_CANDIDATES, N_FEATURES = 3, 300, 5


@pytest.fixture(autouse=True, scope="module")
def machine_code():
    """Tests turn compiling off (ranx is quicker so); here it is what is tested."""
    numba = pytest.importorskip("numba", reason="Numba is the extra dafm-core[compiled]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", 0)
        loop = module.trees_loop.__wrapped__()  # not the answer that is remembered
        patch.setattr(module, "trees_loop", lambda: loop)
        yield


def made(*, seed=0, n_trees=20, categories=(), holes=False, **settings):
    """Return a booster as it is after it was saved, and features (B, F, N)."""
    rng = np.random.default_rng(seed)
    shape = N_QUERIES, N_FEATURES, N_CANDIDATES
    features = rng.normal(size=shape).astype(np.float32).round(1)  # many are level with a split
    cells = features.transpose(0, 2, 1).reshape(-1, N_FEATURES).astype(np.float64)
    if holes:
        cells[::7] = np.nan
    if categories:
        cells[:, list(categories)] = rng.integers(0, 8, (len(cells), len(categories)))
    truth = cells[:, 0] * cells[:, 1] + np.sin(cells[:, 2]) + rng.normal(size=len(cells)) / 3
    settings = {"verbosity": -1, "min_data_in_leaf": 2, "num_threads": 1} | settings
    data = lightgbm.Dataset(cells, np.nan_to_num(truth), categorical_feature=list(categories))
    booster = lightgbm.train(settings, data, n_trees)
    return lightgbm.Booster(model_str=booster.model_to_string()), features


def by_lightgbm(booster, features, scores):
    cells = features.transpose(0, 2, 1).reshape(-1, N_FEATURES)
    said = booster.predict(cells, raw_score=True).reshape(scores.shape)
    return (scores + said).astype(np.float32)


@pytest.mark.parametrize("n_leaves", [2, 3, 31, N_LEAVES])
def test_they_add_what_lightgbm_says_to_the_bit(n_leaves):
    booster, features = made(num_leaves=n_leaves)
    scores = np.random.default_rng(1).normal(size=(N_QUERIES, N_CANDIDATES)).astype(np.float32)
    expected = by_lightgbm(booster, features, scores)
    assert np.ptp(expected - scores) > 0
    Trees.of(booster).add_to(scores, features)
    np.testing.assert_array_equal(scores, expected)


def test_a_number_at_a_threshold_goes_where_lightgbm_sends_it():
    booster, features = made(num_leaves=4, n_trees=1)
    trees = Trees.of(booster)
    split = trees.feature[0]
    near = np.nextafter(trees.threshold[0], np.float32([-9, 9]))
    features[:, split, :3] = [near[0], trees.threshold[0], near[1]]
    scores = np.zeros((N_QUERIES, N_CANDIDATES), np.float32)
    expected = by_lightgbm(booster, features, scores)
    trees.add_to(scores, features)
    np.testing.assert_array_equal(scores, expected)


def test_trees_without_a_split_add_their_only_leaf():
    booster, features = made(num_leaves=4, n_trees=1, min_data_in_leaf=10**6)
    scores = np.ones((N_QUERIES, N_CANDIDATES), np.float32)
    expected = by_lightgbm(booster, features, scores)
    Trees.of(booster).add_to(scores, features)
    np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize(
    "asks_more", [{"num_leaves": N_LEAVES + 1}, {"categories": (0,)}, {"holes": True}]
)
def test_what_asks_for_more_than_a_number_is_left_to_lightgbm(asks_more):
    booster, _ = made(**asks_more)
    assert Trees.of(booster) is None


def test_a_fusion_scores_by_them_as_by_lightgbm(monkeypatch):
    subject = FuserSubject(LambdaMartFusion(n_trees=10, min_leaf=5), n_queries=120)
    fit, held_out = subject.stack.split(seed=1)
    fusion = subject.fuser.clone().fit(fit)
    assert Trees.of(lightgbm.Booster(model_str=fusion.learned_.notes["model_text"])) is not None
    by_trees = fusion.fuse(held_out).scores
    monkeypatch.setattr(module, "trees_loop", lambda: None)
    by_lightgbm = fusion.fuse(held_out).scores
    assert len(np.unique(by_lightgbm)) > 100
    np.testing.assert_array_equal(by_trees, by_lightgbm)


def test_without_machine_code_there_are_none(monkeypatch):
    booster, _ = made()
    monkeypatch.setattr(module, "trees_loop", lambda: None)
    assert Trees.of(booster) is None
