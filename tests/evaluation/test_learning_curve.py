"""A learning curve is what fusions that are fitted on so many labels reach, by hand."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.errors import DatasetError
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.evaluation.learning_curve import drawn_groups, learning_curve
from dafm_core.fusion.channels.together import scorer_of_all
from dafm_core.fusion.debiased import DebiasedFusion
from dafm_core.fusion.light.fuser import LightFusion


@pytest.fixture(scope="module")
def stack(make_problem):
    return make_problem(n_queries=120, n_gallery=60)[1]


def test_each_point_is_that_of_fusions_fitted_alone(stack):
    curve = learning_curve(stack, sizes=[20, 10_000], n_draws=2, n_folds=3, held_out=1, seed=1)
    train, test = stack.folds(3, seed=1)[0]
    light = LightFusion(network="linear").fit(train)
    few = light.with_labels(drawn_groups(train, 20, seed=[1, 0, 1]))
    assert curve.sizes == (0, 20, train.n_queries)
    assert (curve.n_folds, curve.n_measured) == (1, test.n_queries)
    for point, fuser in ((0, DebiasedFusion().fit(train)), (1, few), (2, light)):
        expected = evaluate(fuser, test).per_query.mean(axis=0)
        np.testing.assert_allclose(curve.values[point, 1], expected, atol=1e-9)
    record = json.loads(json.dumps(curve.to_json(), allow_nan=False))
    assert [point["labels"] for point in record["points"]] == list(curve.sizes)


def test_fusions_of_one_fit_are_fused_together_as_each_alone(stack):
    train, test = stack.folds(3)[0]
    light = LightFusion(network="linear").fit(train)
    fusers = [light.with_labels(drawn_groups(train, 20, seed=s)) for s in range(2)]
    tile = test.tile(0, 5)
    for fuser, by_head in zip(fusers, scorer_of_all(fusers, test)(tile), strict=True):
        assert tuple(by_head) == fuser.heads
        for head, scores in by_head.items():
            np.testing.assert_array_equal(scores, fuser.scorer(test, head=head)(tile))


def naming(stack, named):
    """Return the stack with the targets of some queries only, given as a mask."""
    queries = stack.dataset.queries
    targets = [
        row if kept else [] for row, kept in zip(queries["targets"].to_list(), named, strict=True)
    ]
    column = pl.Series("targets", targets, queries["targets"].dtype)
    return replace(stack, dataset=replace(stack.dataset, queries=queries.with_columns(column)))


def test_unlabelled_queries_fill_the_bank_and_are_not_counted(stack):
    silent = np.unique(stack.dataset.groups)[::2]
    named = ~np.isin(stack.dataset.groups, silent)
    half = naming(stack, named)
    curve = learning_curve(half, sizes=[10], n_draws=1, n_folds=2)
    assert curve.n_measured == named.sum()
    assert curve.sizes[-1] == round(named.sum() / 2)
    assert drawn_groups(half, 10, seed=0).isdisjoint(silent)


def test_without_labels_there_is_nothing_to_tell(stack):
    with pytest.raises(DatasetError, match="learning curve: expected labelled queries"):
        learning_curve(naming(stack, np.zeros(stack.n_queries, bool)), n_draws=1)
