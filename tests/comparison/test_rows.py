"""Rows against numbers worked out by hand: paired differences, and p-values adjusted by metric."""

import numpy as np
import polars as pl
import pytest

from dafm_core.comparison.rows import MEAN, summarise
from dafm_core.evaluation.evaluate import Evaluation
from dafm_core.ground.statistics import Resampler

METRICS = ("recall@1", "recall@5")
KINDS = {"model": "single", "rrf": "static", "mean": "static", "light": "learned"}
GAINS = {"rrf": (0.02, 0.04), "mean": (0.05, 0.01), "light": (0.06, 0.05)}
"""How far each fused row is ahead of the single one, by metric."""

N_GROUPS = 40


@pytest.fixture(scope="module")
def evaluations():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.2, 0.6, (N_GROUPS, 2))
    made = {}
    for name in KINDS:
        gain = GAINS.get(name, (0, 0)) + (name in GAINS) * rng.normal(0, 0.12, base.shape)
        columns = dict(zip(METRICS, (base + gain).T, strict=True))
        ids = [str(i) for i in range(N_GROUPS)]
        frame = pl.DataFrame({"query_id": ids, "group": ids} | columns)
        made[name] = Evaluation(name, "made-up", METRICS, frame)
    return made


@pytest.fixture(scope="module")
def rows(evaluations):
    resampler = Resampler(evaluations["model"].frame["group"], n_resamples=2000, seed=0)
    return {row.name: row for row in summarise(evaluations, KINDS, resampler)}


def holm_by_hand(p_values):
    """Return each p-value times how many are no smaller, and never below a smaller one's."""
    adjusted, floor = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.get)):
        floor = max(floor, min(1.0, p_values[name] * (len(p_values) - rank)))
        adjusted[name] = floor
    return adjusted


@pytest.mark.parametrize("metric", [*METRICS, MEAN])
def test_p_values_are_adjusted_among_the_rows_of_one_metric(rows, metric):
    cells = {name: rows[name].vs_best_single[metric] for name in GAINS}
    p_values = {name: cell.p_value for name, cell in cells.items()}
    assert {name: cell.p_holm for name, cell in cells.items()} == pytest.approx(
        holm_by_hand(p_values)
    )
    assert len({*p_values.values()}) > 1
    assert max(cell.p_holm for cell in cells.values()) < 1  # where every rule is capped, all agree


def test_the_mean_of_the_metrics_is_a_difference_of_its_own(rows):
    cell = rows["light"].vs_best_single[MEAN]
    by_metric = [rows["light"].vs_best_single[metric].value for metric in METRICS]
    assert cell.value == pytest.approx(np.mean(by_metric))
    assert rows["light"].vs_best_static["recall@1"].reference == "mean"
    assert rows["light"].vs_best_static["recall@5"].reference == "rrf"


def test_singles_are_compared_with_nothing(rows):
    assert not rows["model"].vs_best_single
    assert not rows["model"].vs_best_static
