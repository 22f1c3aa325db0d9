from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dafm_core.cases.explain import (
    effective_weights,
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
    table = weights_by_query_type(weights, dataset)
    assert table["query_type"].to_list() == ["all", "count"]  # "text 12" holds a number
    assert table["n_queries"].to_list() == [80, 80]
    assert_allclose(table.select(stack.names).to_numpy()[0], [1, 0, 0], atol=1e-6)


def test_a_weighted_sum_responds_in_straight_lines(make_problem):
    _, stack = make_problem(n_queries=10, n_gallery=2000)  # one score hardly moves its row
    fuser = weighted(stack, {"model-0": 0.6, "model-1": 0.4, "model-2": 0.0})
    curves = response_curves(fuser, stack, n_queries=6)
    for name in stack.names:
        part = curves.filter(provider=name)
        slope = part["response"].to_numpy()[-1] / 6
        assert_allclose(part["response"], slope * part["standardised"], atol=0.2)
        assert (slope > 0.3) == (name != "model-2")
    assert curves.equals(response_curves(fuser, stack, n_queries=6))


def test_reliability_adds_up_to_the_hit_rate(problem):
    dataset, stack = problem
    mean = MeanFusion(normalize="zscore").fit(stack)
    bins = margin_reliability(mean, stack, n_bins=4)
    overall = evaluate(mean, stack, metrics=["hit@1"]).values["hit@1"]
    assert bins["n_queries"].sum() == dataset.n_queries
    assert_allclose((bins["right"] * bins["n_queries"]).sum() / dataset.n_queries, overall)
    assert bins["margin"].is_sorted()
    assert ((bins["low"] <= bins["right"]) & (bins["right"] <= bins["high"])).all()
    assert bins["right"][-1] > bins["right"][0]  # a sure fusion is right more often


def test_what_is_refused(problem):
    dataset, stack = problem
    tuned = MeanFusion().fit(stack)
    tuned.record_ = replace(tuned.record_, query_ids=frozenset(dataset.query_ids))
    with pytest.raises(LeakageError):
        margin_reliability(tuned, stack)
    with pytest.raises(OptionError, match="n_bins >= 1, got 0"):
        margin_reliability(tuned, stack, n_bins=0)
