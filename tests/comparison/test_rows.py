"""Rows of a table: adjusted for the rows of one metric, and what the gate reads."""

import numpy as np
import pytest

from dafm_core.comparison.rows import summarise
from dafm_core.evaluation.evaluate import Evaluation
from dafm_core.ground.statistics import Resampler, holm

METRICS = ("recall@1", "recall@5")


@pytest.fixture
def table(make_problem, rng):
    """Rows of two singles, two rules and a learned fuser with differences of many sizes."""
    dataset, _ = make_problem(n_queries=80)
    kinds = dict.fromkeys("ab", "single") | dict.fromkeys("cd", "static") | {"e": "learned"}
    evaluations = {}
    for level, name in enumerate(kinds):
        values = (rng.random((80, 2)) < 0.3 + 0.05 * level * np.array([1, 2])).astype(float)
        evaluations[name] = Evaluation.of(name, dataset, METRICS, values)
    resampler = Resampler(dataset.groups, n_resamples=400, seed=1)
    return {row.name: row for row in summarise(evaluations, kinds, resampler)}


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
