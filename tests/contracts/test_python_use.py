"""Public functions that are handed something else say what they expected and what came."""

import numpy as np
import pytest

import dafm_core as dafm
from dafm_core.cases.collecting import collect_cases
from dafm_core.comparison.incremental import incremental
from dafm_core.errors import DafmError
from dafm_core.ground.statistics import Resampler

OTHER = [None, 3, "mean", np.zeros((2, 2)), object()]


@pytest.fixture(scope="module")
def stack(make_problem):
    return make_problem(n_queries=16, n_gallery=10)[1]


@pytest.mark.parametrize("value", OTHER, ids=lambda value: type(value).__name__)
def test_what_is_no_stack_is_named(stack, value):
    mean = dafm.MeanFusion().fit(stack)
    calls = {
        "MeanFusion.fit": lambda: dafm.MeanFusion().fit(value),
        "MeanFusion.fuse": lambda: mean.fuse(value),
        "MeanFusion": lambda: mean.scorer(value),
        "evaluate": lambda: dafm.evaluate(mean, value),
        "compare": lambda: dafm.compare(value, ["mean"]),
        "incremental": lambda: incremental(value, mean),
        "cases": lambda: collect_cases(value, {"fused": mean}),
    }
    for where, call in calls.items():
        with pytest.raises(TypeError, match=f"^{where}: expected .*SimilarityStack, got"):
            call()


def test_what_is_no_fuser_design_metric_or_number_is_named(stack):
    mean = dafm.MeanFusion()
    for call, said in (
        (lambda: dafm.evaluate(3, stack), "evaluate: expected Fuser or str, got int"),
        (lambda: dafm.evaluate(["mean"], stack), "evaluate: expected Fuser or str, got list"),
        (lambda: dafm.compare(stack, ["mean"], design=5), "design: expected Design, got int"),
        (lambda: incremental(stack, mean, design="x"), "design: expected Design, got str"),
        (lambda: dafm.evaluate("model-0", stack, metrics=[1]), "metrics: expected str, got int"),
        (lambda: stack.folds("2", seed=0), "folds: expected int or integer, got str"),
        (lambda: stack.folds(2, seed=None), "folds: seed: expected int or integer, got NoneType"),
        (lambda: stack.split(test_size="x", seed=0), "test_size: expected .* got str"),
        (lambda: mean.fit(stack, bank="x"), "bank: expected SimilarityStack, got str"),
        (lambda: Resampler([1, 2], n_resamples=2.5), "n_resamples: expected int or integer"),
    ):
        with pytest.raises(TypeError, match=said):
            call()


@pytest.mark.parametrize("kind", ["flat", "fewer", "short", "whole", "list", "complex"])
def test_a_live_tile_of_another_shape_or_kind_is_refused(stack, kind):
    mean = dafm.MeanFusion().fit(stack)
    tile = next(iter(stack.tiles()))[1][:2]
    assert mean.scorer(stack)(tile).shape == (2, 10)
    changed = {
        "flat": tile[0],
        "fewer": tile[:, :2],
        "short": tile[:, :, :5],
        "whole": np.zeros(tile.shape, int),
        "list": tile.tolist(),
        "complex": tile + 0j,
    }[kind]
    with pytest.raises(DafmError, match="expected a tile of float32 scores"):
        mean.scorer(stack)(changed)


def test_scoring_says_what_it_cannot_take(stack, tmp_path):
    class Rows:
        def similarity(self, queries, gallery):
            return np.zeros((len(queries), len(gallery)), np.float32)

    for settings, said in (
        ({"block_rows": 0}, "blocks of 1 query or more, got 0"),
        ({"block_rows": -1}, "blocks of 1 query or more, got -1"),
        ({"executor": "ray"}, "an executor that can be called, got 'ray'"),
    ):
        with pytest.raises(DafmError, match=said):
            dafm.score(stack.dataset, {"mine": Rows()}, store=tmp_path / "s", **settings)
    for call, said in (
        (lambda: dafm.score(None, {"mine": Rows()}, store=tmp_path / "s"), "Dataset, got NoneType"),
        (lambda: dafm.load_dataset(None), "dataset: expected str, got NoneType"),
        (
            lambda: dafm.Dataset(protocol="p", gallery_ids="ab", queries=None),
            "p: queries: expected",
        ),
    ):
        with pytest.raises(TypeError, match=said):
            call()
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("metric", ["recall@99999999999999999999", "recall@\u0663", "recall@0"])
def test_a_depth_that_is_none_is_an_unknown_metric(stack, metric):
    with pytest.raises(DafmError, match="recall"):
        dafm.evaluate("model-0", stack, metrics=[metric])


@pytest.mark.parametrize("n", [0, -1, 10**12])
def test_so_many_resamples_are_none(n):
    with pytest.raises(DafmError, match="n_resamples from 1 to"):
        Resampler([1, 2], n_resamples=n)
