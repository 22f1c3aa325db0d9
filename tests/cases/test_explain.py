from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dafm_core.cases.explain import (
    effective_weights,
    learned,
    margin_reliability,
    response_curves,
    weights_by_query_type,
)
from dafm_core.errors import LeakageError, OptionError
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.fusion.static import BestSingle, MaxFusion, MeanFusion, WeightedFusion


@pytest.fixture
def problem(make_problem):
    return make_problem(n_queries=80, n_gallery=60)


def weighted(stack, weights):
    fuser = WeightedFusion(normalize="zscore").fit(stack)
    fuser.weights_ = np.array([weights[name] for name in stack.names])
    fuser.record_ = replace(fuser.record_, query_ids=frozenset())
    return fuser


def test_the_weights_of_a_weighted_sum_are_found_exactly(problem):
    _, stack = problem
    given = {"model-0": 0.6, "model-1": 0.3, "model-2": 0.1}
    found = effective_weights(weighted(stack, given), stack)
    assert_allclose(found.weights, np.tile([0.6, 0.3, 0.1], (80, 1)), atol=1e-5)
    assert_allclose(found.explained, 1, atol=1e-5)


def test_a_rule_that_is_not_linear_says_so(problem):
    _, stack = problem
    found = effective_weights(MaxFusion(normalize="zscore").fit(stack), stack)
    assert_allclose(np.abs(found.weights).sum(axis=1), 1)
    assert 0 < found.explained.mean() < 0.99


def test_weights_by_query_type_are_means_over_its_queries(problem):
    dataset, stack = problem
    weights = effective_weights(BestSingle().fit(stack), stack)
    found = weights_by_query_type(weights, dataset)
    assert [w.query_type for w in found] == ["all", "count"]  # "text 12" holds a number
    assert [w.n_queries for w in found] == [80, 80]
    assert_allclose([found[0].weights[name] for name in stack.names], [1, 0, 0], atol=1e-6)


def test_a_weighted_sum_responds_in_straight_lines(make_problem):
    _, stack = make_problem(n_queries=10, n_gallery=2000)  # one score hardly moves its row
    fuser = weighted(stack, {"model-0": 0.6, "model-1": 0.4, "model-2": 0.0})
    curves = response_curves(fuser, stack, n_queries=6)
    assert tuple(curve.provider for curve in curves) == stack.names
    for curve in curves:
        slope = curve.median[-1] / 6
        assert_allclose(curve.median, slope * np.array(curve.standardised), atol=0.2)
        assert (slope > 0.3) == (curve.provider != "model-2")
    assert curves == response_curves(fuser, stack, n_queries=6)


def test_reliability_adds_up_to_the_hit_rate(problem):
    dataset, stack = problem
    mean = MeanFusion(normalize="zscore").fit(stack)
    bins = margin_reliability(mean, stack, n_bins=4)
    overall = evaluate(mean, stack, metrics=["hit@1"]).values["hit@1"]
    assert sum(b.n_queries for b in bins) == dataset.n_queries
    assert_allclose(sum(b.right * b.n_queries for b in bins) / dataset.n_queries, overall)
    assert [b.margin for b in bins] == sorted(b.margin for b in bins)
    assert all(b.low <= b.right <= b.high for b in bins)
    assert bins[-1].right > bins[0].right  # a sure fusion is right more often


def test_all_answers_are_of_held_out_queries(problem):
    _, stack = problem
    fit, held_out = stack.split(seed=0)
    fuser = MeanFusion().fit(fit)
    found = learned("mean", fuser, held_out)
    assert found.reliability == margin_reliability(fuser, held_out)
    assert found.weights[0].n_queries == held_out.n_queries
    assert tuple(curve.provider for curve in found.responses) == stack.names
    assert list(found.history) == []
    with pytest.raises(LeakageError):
        learned("mean", fuser, stack)


def test_what_is_refused(problem):
    dataset, stack = problem
    tuned = MeanFusion().fit(stack)
    tuned.record_ = replace(tuned.record_, query_ids=frozenset(dataset.query_ids))
    with pytest.raises(LeakageError):
        margin_reliability(tuned, stack)
    with pytest.raises(OptionError, match="n_bins >= 1, got 0"):
        margin_reliability(tuned, stack, n_bins=0)
