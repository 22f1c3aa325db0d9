"""The spread that is printed is that of the numbers."""

import runpy
from pathlib import Path

import numpy as np
import pytest

SPREAD = runpy.run_path(str(Path(__file__).parent / "spread.py"), run_name="spread")
measure, summary = SPREAD["measure"], SPREAD["summary"]


def test_seeds_and_deals_are_told_apart():
    deals, seeds = np.array([[0.0], [10.0]]), np.array([[-1.0, 1.0]])
    line = summary((deals + seeds)[..., None])[0]
    assert line.split() == [
        "5.00",
        "[-1.00,",
        "11.00]",
        "sd",
        "5.10",
        "(seeds",
        "1.00,",
        "deals",
        "5.00)",
    ]


def test_a_fusion_without_chance_has_no_spread_over_seeds(make_problem):
    _, stack = make_problem(n_queries=24, n_gallery=20)
    values = measure(stack, "logistic", n_seeds=2, n_deals=2, n_folds=2)
    assert values.shape == (2, 2, len(stack.dataset.metrics) + 1)
    assert values[0, 0] == pytest.approx(values[0, 1], abs=10)
