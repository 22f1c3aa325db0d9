"""Subsets, orders and Shapley values: their axioms, and what is said in words."""

import json
from dataclasses import replace
from math import factorial

import numpy as np
import pytest

from dafm_core.comparison.compare import compare
from dafm_core.comparison.conclusion import conclude
from dafm_core.comparison.incremental import incremental
from dafm_core.comparison.rows import MEAN, Difference, Interval
from dafm_core.comparison.subset_tables import falls_table, worth_table
from dafm_core.comparison.subset_values import Step, pareto
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


def change(value, low, high, p=0.001):
    return Difference("others", value, low, high, p, p, 1, 1, 1, 0.01)


def with_twin_and_flat(stack):
    first = np.asarray(stack.matrices[0])
    return SimilarityStack.from_matrices(
        {"a": first, "b": first, "flat": np.zeros_like(first)}, stack.dataset
    )


def test_intervals_of_shares_are_shares_in_few_groups_too(make_problem):
    """Student's t of six groups reaches beyond 100 %."""
    _, stack = make_problem(n_queries=24, noise=(0.05, 0.9))
    found = incremental(stack, MeanFusion(), design=Folds(3), n_resamples=50)
    ends = [
        end for cells in found.subsets.values() for c in cells.values() for end in (c.low, c.high)
    ]
    assert 0 <= min(ends) <= max(ends) == 1


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
    ("odd_change", "words"),
    [
        (change(0.02, 0.01, 0.03), "R@1 rises at every step of any order"),
        (change(0.0, -0.01, 0.01), "R@1 does not fall at any step of any order"),
        (change(-0.01, -0.03, 0.01), "R@1 never falls clearly"),
        (change(-0.05, -0.07, -0.03, p=0.2), "R@1 never falls clearly"),
        (change(-0.05, -0.07, -0.03), "R@1 falls clearly at one step"),
    ],
)
def test_monotone_is_said_in_words(result, odd_change, words):
    rise = change(0.1, 0.05, 0.15)
    steps = {key: replace(step, change={"recall@1": rise}) for key, step in result.steps.items()}
    odd = ("model-0",), "model-2"
    steps[odd] = replace(steps[odd], change={"recall@1": odd_change})
    said = replace(result, steps=steps).monotone("recall@1")
    assert words in said
    assert f"model-2 joining model-0: {100 * odd_change.value:+.2f}" in said


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


def values_of(result, percents, *, clear):
    """Return a result whose sets have these means, all behind the best of them, clearly or not."""
    sets = {tuple(names): percent / 100 for names, percent in percents.items()}
    best = max(sets, key=sets.get)
    p = 0.001 if clear else 0.4
    behind = {
        names: {} if names == best else {MEAN: change(v - sets[best], v - 1, v - sets[best], p)}
        for names, v in sets.items()
    }
    steps = {
        (to, name): Step(name, to, {MEAN: change(sets[whole] - sets[to], -1, 1, 0.5)})
        for to in sets
        for whole in sets
        if len(whole) == len(to) + 1 and set(to) < set(whole)
        for name in set(whole) - set(to)
    }
    return replace(
        result,
        subsets={names: {MEAN: Interval(v, v, v)} for names, v in sets.items()},
        vs_best=behind,
        steps=steps,
        metrics=(),
    )


PERCENTS = {"a": 30, "b": 40, "c": 35, "ab": 45, "bc": 46, "ac": 41, "abc": 45.5}


def test_the_fewest_models_that_nothing_clearly_beats_are_used(result):
    clear = conclude(values_of(result, PERCENTS, clear=True), costs={"a": 150, "b": 5, "c": 7})
    assert (clear.use, clear.best, clear.behind) == (("b", "c"), ("b", "c"), None)
    assert clear.words[0].startswith("Use b and c: Mean 46.00 [46.00, 46.00], the highest of every")
    assert clear.words[0].endswith("at 12.0 ms a query.")
    assert "Adding a gains nothing that is clear (-0.50" in clear.words[1]
    assert clear.words[1].endswith("and costs 150.0 ms a query.")
    assert clear.words[2].startswith("All 3 reach 45.50")
    tied = conclude(values_of(result, PERCENTS, clear=False))
    assert tied.use == ("b",)
    assert "not clearly behind the highest, b and c (-6.00" in tied.words[0]
    assert set(tied.adding) == {"a", "c"}


def test_every_set_is_set_against_the_best_one(result):
    for metric in (*result.metrics, MEAN):
        best = max(result.subsets, key=lambda names: result.subsets[names][metric].value)
        for names, cells in result.subsets.items():
            if names == best:
                continue
            lead = result.subsets[best][metric].value - cells[metric].value
            assert result.vs_best[names][metric].value == pytest.approx(-lead, abs=1e-9)


def test_clear_falls_are_all_listed_the_worst_first(result):
    listed = falls_table(result)
    falling = [
        step.change[metric].value
        for step in result.steps.values()
        for metric in (*result.metrics, MEAN)
        if step.change[metric].loses
    ]
    shown = [] if listed is None else [row[3].value for row in listed.rows]
    assert shown == pytest.approx(sorted(100 * value for value in falling))
    odd = ("model-0",), "model-2"
    steps = dict(result.steps)
    worse = dict.fromkeys((*result.metrics, MEAN), change(-0.5, -0.6, -0.4))
    steps[odd] = replace(steps[odd], change=worse)
    assert falls_table(replace(result, steps=steps)).rows[0][0].text == "model-2"


def test_what_each_is_worth_is_what_it_adds_to_the_rest(result):
    rows = {row[0].text: row for row in worth_table(result, {}).rows}
    for name, step in result.added_last.items():
        assert set(step.to) == set(result.shapley) - {name}
        assert rows[name][2].value == pytest.approx(100 * step.change[MEAN].value)


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
