"""Rows of a table: adjusted for the rows of one metric, and what the gate reads."""

import numpy as np
import pytest

from dafm_core.comparison.rows import measure_differences, summarise, with_mean
from dafm_core.evaluation.evaluate import Evaluation
from dafm_core.ground.statistics import Resampler, detectable, holm

METRICS = ("recall@1", "recall@5")


@pytest.fixture
def problem(make_problem, rng):
    """Evaluations of two singles, two rules and a learned fuser, their kinds, and resamples."""
    dataset, _ = make_problem(n_queries=80)
    kinds = dict.fromkeys("ab", "single") | dict.fromkeys("cd", "static") | {"e": "learned"}
    evaluations = {}
    for level, name in enumerate(kinds):
        values = (rng.random((80, 2)) < 0.3 + 0.05 * level * np.array([1, 2])).astype(float)
        evaluations[name] = Evaluation.of(name, dataset, METRICS, values)
    resampler = Resampler(dataset.groups, n_resamples=400, seed=1)
    return evaluations, kinds, resampler


@pytest.fixture
def table(problem):
    return {row.name: row for row in summarise(*problem)}


@pytest.mark.parametrize("metric", [*METRICS, "mean"])
def test_p_values_are_adjusted_over_the_rows_of_one_metric(table, metric):
    for against in ("vs_best_single", "vs_best_static"):
        cells = [getattr(row, against).get(metric) for row in table.values()]
        cells = [cell for cell in cells if cell is not None]
        adjusted = holm([cell.p_value for cell in cells])
        np.testing.assert_allclose([cell.p_holm for cell in cells], adjusted)
        assert (adjusted > [cell.p_value for cell in cells]).any()


def test_only_fused_rows_are_compared_and_never_with_themselves(table):
    assert not table["a"].vs_best_single
    assert not table["b"].vs_best_static
    for name in "cde":
        assert table[name].vs_best_single.keys() == {*METRICS, "mean"}
    for metric in (*METRICS, "mean"):
        best = max("cd", key=lambda name: table[name].metrics[metric].value)
        assert metric not in table[best].vs_best_static
        assert table["e"].vs_best_static[metric].reference == best


@pytest.mark.parametrize("against", ["vs_best_single", "vs_best_static"])
def test_a_difference_is_what_its_queries_say(problem, table, against):
    """Every field, from the two columns alone."""
    evaluations, _, resampler = problem
    for row in table.values():
        for m, metric in enumerate((*METRICS, "mean")):
            cell = getattr(row, against).get(metric)
            if cell is None:
                continue
            column = (
                with_mean(evaluations[row.name], METRICS)[:, m]
                - with_mean(evaluations[cell.reference], METRICS)[:, m]
            )
            assert (cell.wins, cell.ties, cell.losses) == (
                sum(value > 0 for value in column),
                sum(value == 0 for value in column),
                sum(value < 0 for value in column),
            )
            low, high, error = resampler.summary(column[:, None])
            expected = [column.mean(), low[0], high[0], detectable(error[0])]
            np.testing.assert_allclose(
                [cell.value, cell.low, cell.high, cell.detectable], expected, atol=1e-12
            )
            assert cell.p_value == resampler.sign_flip(column[:, None])[0]


def test_rounding_of_means_is_no_difference(make_problem):
    """Means of three metrics in another order differ in the last bit, which wins nothing."""
    dataset, _ = make_problem(n_queries=20)
    values = np.tile([0.1, 0.2, 0.3], (20, 1))
    assert np.mean([0.1, 0.2, 0.3]) != np.mean([0.3, 0.2, 0.1])
    metrics = ("recall@1", "recall@5", "mrr")
    evaluations = {
        "a": Evaluation.of("a", dataset, metrics, values),
        "b": Evaluation.of("b", dataset, metrics, values[:, ::-1]),
    }
    rows = summarise(evaluations, {"a": "single", "b": "static"}, Resampler(dataset.groups))
    cell = rows[1].vs_best_single["mean"]
    assert (cell.wins, cell.ties, cell.losses) == (0, 20, 0)


def test_intervals_are_those_of_each_metric_of_each_row(problem, table):
    evaluations, _, resampler = problem
    for name, evaluation in evaluations.items():
        low, high, _ = resampler.summary(with_mean(evaluation, METRICS))
        for m, metric in enumerate((*METRICS, "mean")):
            cell = table[name].metrics[metric]
            assert cell.value == pytest.approx(with_mean(evaluation, METRICS)[:, m].mean())
            assert (cell.low, cell.high) == pytest.approx((low[m], high[m]))


def test_json_has_shares_in_percent_and_counts_as_they_are(table):
    row = table["e"]
    written = row.to_json()
    cell, record = row.vs_best_single["mean"], written["vs_best_single"]["mean"]
    for name in ("value", "low", "high", "detectable"):
        assert record[name] == 100 * getattr(cell, name)
    for name in ("reference", "p_value", "p_holm", "wins", "ties", "losses"):
        assert record[name] == getattr(cell, name)
    assert row.against == (row.vs_best_single, row.vs_best_static, row.vs_best_learned)


@pytest.mark.parametrize(("n_resamples", "said"), [(59, True), (60, False)])
def test_too_few_resamples_to_find_anything_are_said(caplog, n_resamples, said):
    resampler = Resampler(np.arange(50), n_resamples=n_resamples)
    measure_differences(np.ones((50, 3)), ["r"] * 3, resampler, asked=["q"] * 3)
    assert ("Take at least 60" in caplog.text) == said
