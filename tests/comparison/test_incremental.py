"""Subsets, orders and Shapley values: their axioms, and what is said in words."""

import json
from dataclasses import replace
from math import factorial

import numpy as np
import pytest

from dafm_core.comparison.compare import compare
from dafm_core.comparison.incremental import Step, incremental, pareto
from dafm_core.comparison.rows import Interval
from dafm_core.errors import LeakageError, OptionError
from dafm_core.evaluation.design import Folds, Train
from dafm_core.evaluation.evaluate import evaluate, evaluate_providers
from dafm_core.fusion.static import MeanFusion, WeightedFusion
from dafm_core.store.stack import SimilarityStack

OPTIONS = {"design": Folds(3), "n_resamples": 200}


@pytest.fixture
def problem(make_problem):
    return make_problem(n_queries=160, noise=(1.6, 1.7, 1.8))


@pytest.fixture
def result(problem):
    _, stack = problem
    return incremental(stack, WeightedFusion(), **OPTIONS)


def with_twin_and_flat(stack):
    first = np.asarray(stack.matrices[0])
    return SimilarityStack.from_matrices(
        {"a": first, "b": first, "flat": np.zeros_like(first)}, stack.dataset
    )


def test_every_subset_is_there_and_the_full_one_is_the_comparison(problem, result):
    _, stack = problem
    assert len(result.subsets) == 7
    table = compare(stack, {"weights": WeightedFusion()}, **OPTIONS)
    for metric, cell in table.row("weights").metrics.items():
        assert result.subsets[stack.names][metric].value == pytest.approx(cell.value)
    for name, evaluation in evaluate_providers(stack).items():
        assert result.subsets[name,]["recall@1"].value == evaluation.values["recall@1"]


def test_shapley_values_sum_to_the_full_value_minus_chance(result):
    full = result.subsets[tuple(result.shapley)]
    for metric in (*result.metrics, "mean"):
        total = sum(cells[metric].value for cells in result.shapley.values())
        assert total == pytest.approx(full[metric].value - result.chance[metric])


def test_shapley_is_the_mean_gain_over_all_orders(result):
    value = lambda names: (  # noqa: E731
        result.subsets[names]["recall@5"].value if names else result.chance["recall@5"]
    )
    for name, cells in result.shapley.items():
        gains = [
            value(tuple(sorted((*before, name)))) - value(tuple(sorted(before)))
            for order in result.orders
            for before in [order[: order.index(name)]]
        ]
        assert cells["recall@5"].value == pytest.approx(np.mean(gains))


def test_twins_are_worth_the_same_and_a_constant_provider_nothing(problem):
    _, stack = problem
    fuser = MeanFusion(normalize="zscore")
    worth = incremental(with_twin_and_flat(stack), fuser, **OPTIONS).shapley
    assert worth["a"]["recall@1"].value == pytest.approx(worth["b"]["recall@1"].value)
    assert worth["flat"]["recall@1"].value == pytest.approx(0, abs=1e-9)


def test_orders_start_with_the_base(problem, result):
    _, stack = problem
    assert len(result.orders) == factorial(3)
    based = incremental(stack, MeanFusion(), base="model-1", **OPTIONS)
    assert based.orders == [("model-1", "model-0", "model-2"), ("model-1", "model-2", "model-0")]
    steps = based.path(based.orders[0])
    assert [(step.added, step.to) for step in steps] == [
        ("model-0", ("model-1",)),
        ("model-2", ("model-0", "model-1")),
    ]
    for order in based.orders:
        start = based.subsets[order[:1]]["recall@1"].value
        end = start + sum(step.change["recall@1"].value for step in based.path(order))
        assert end == pytest.approx(based.subsets[stack.names]["recall@1"].value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Interval(0.02, 0.01, 0.03), "R@1 rises at every step of any order"),
        (Interval(0.0, -0.01, 0.01), "R@1 does not fall at any step of any order"),
        (Interval(-0.01, -0.03, 0.01), "never falls by more than the half-width of its interval"),
        (Interval(-0.05, -0.07, -0.03), "R@1 falls clearly at 1 steps"),
    ],
)
def test_monotone_is_said_in_words(result, change, words):
    rise = Interval(0.1, 0.05, 0.15)
    steps = {key: replace(step, change={"recall@1": rise}) for key, step in result.steps.items()}
    odd = ("model-0",), "model-2"
    steps[odd] = replace(steps[odd], change={"recall@1": change})
    said = replace(result, steps=steps).monotone("recall@1")
    assert words in said
    assert f"model-2 joining model-0: {100 * change.value:+.2f}" in said


def test_one_provider_has_no_steps(problem):
    _, stack = problem
    alone = incremental(stack.select(["model-0"]), MeanFusion(), **OPTIONS)
    assert alone.monotone("recall@1") == "R@1: one provider, nothing to add."
    assert list(alone.subsets) == [("model-0",)]


def test_the_front_holds_no_subset_that_a_cheaper_one_equals(result):
    costs = {"model-0": 1.0, "model-1": 2.0, "model-2": 40.0}
    front = pareto(result, costs, metric="recall@1")
    assert [cost for _, cost, _ in front] == sorted(cost for _, cost, _ in front)
    for names, cells in result.subsets.items():
        cost, value = sum(costs[n] for n in names), cells["recall@1"].value
        assert any(c <= cost and v >= value for _, c, v in front)


def test_the_front_is_the_cheapest_subset_of_each_value(result):
    values = {("a",): 0.5, ("b",): 0.25, ("c",): 0.5, ("a", "b"): 0.75, ("a", "c"): 0.7}
    cells = {names: {"mean": Interval(v, v, v)} for names, v in values.items()}
    costs = {"a": 1.0, "b": 1.0, "c": 2.0}
    front = pareto(replace(result, subsets=cells), costs)
    assert front == [(("a",), 1.0, 0.5), (("a", "b"), 2.0, 0.75)]


@pytest.mark.parametrize(
    ("change", "falls"),
    [
        (Interval(-0.26, -0.5, 0.0), True),
        (Interval(-0.25, -0.5, 0.0), False),  # by just half of the width
        (Interval(0.3, 0.1, 0.5), False),
    ],
)
def test_a_metric_falls_by_more_than_half_of_its_interval(change, falls):
    assert Step("a", ("b",), {"mrr": change}).falls("mrr") == falls


def test_json_is_json_in_percent(result):
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert len(record["subsets"]) == 7
    assert len(record["orders"]) == 6
    assert len(record["steps"]) == 9
    written = record["shapley"]["model-0"]["recall@1"]["value"]
    assert written == pytest.approx(100 * result.shapley["model-0"]["recall@1"].value)


def test_a_training_part_may_replace_the_folds(problem):
    _, stack = problem
    train, test = stack.split(seed=0)
    fuser = WeightedFusion()
    found = incremental(test, fuser, design=Train(train), n_resamples=50)
    assert found.n_queries == test.n_queries
    assert found.fuser == "WeightedFusion"
    pair = ("model-0", "model-2")
    by_hand = evaluate(fuser.clone().fit(train.select(pair)), test.select(pair)).values
    assert found.subsets[pair]["recall@5"].value == pytest.approx(by_hand["recall@5"])


def test_the_fuser_is_called_what_its_user_called_it(problem):
    _, stack = problem
    found = incremental(stack, MeanFusion(), name="mean", **OPTIONS)
    assert found.fuser == found.to_json()["fuser"] == "mean"


def test_what_makes_no_sense_is_refused(problem):
    _, stack = problem
    with pytest.raises(OptionError, match="did you mean 'model-0'"):
        incremental(stack, MeanFusion(), base="model0")
    with pytest.raises(LeakageError):
        incremental(stack, WeightedFusion(), design=Train(stack))
    many = {f"m{i}": stack.matrices[0] for i in range(7)}
    big = SimilarityStack.from_matrices(many, stack.dataset)
    with pytest.raises(OptionError, match="at most 6"):
        incremental(big, MeanFusion())
