"""Confidence margins, by hand."""

import numpy as np
import pytest

from dafm_core.errors import OptionError
from dafm_core.fusion.static import MarginFusion, MeanFusion
from dafm_core.fusion.static.tuning import margins


def test_margin_trusts_the_surer_model():
    scaled = np.array([[[3.0, 0.0, -1.0], [1.0, 0.9, -1.0]]], np.float32)
    np.testing.assert_allclose(margins(scaled), [[3.0, 0.1]], rtol=1e-5)
    assert margins(scaled[..., :1]).tolist() == [[0.0, 0.0]]


def test_the_less_sharp_the_closer_to_the_plain_mean(make_problem):
    _, stack = make_problem()
    flat = MarginFusion(sharpness=1e-9).fuse(stack).scores
    mean = MeanFusion(normalize="zscore").fuse(stack).scores
    np.testing.assert_allclose(flat, mean, atol=1e-5)


@pytest.mark.parametrize("sharpness", [0, -1, float("inf")])
def test_a_sharpness_that_is_no_margin_rule_is_refused(sharpness):
    with pytest.raises(OptionError, match=f"expected sharpness > 0, got {sharpness}"):
        MarginFusion(sharpness=sharpness)


def test_no_setting_is_the_plain_mean_under_another_name(make_problem):
    """Else a table has one ranking in two rows, and tuning picks it wherever margins mislead."""
    _, stack = make_problem()
    mean = MeanFusion(normalize="zscore").fuse(stack).scores
    kept = np.isfinite(mean)
    for sharpness in MarginFusion().settings(stack.gallery):
        scores = MarginFusion(sharpness=sharpness).fuse(stack).scores
        assert np.abs(scores[kept] - mean[kept]).max() > 1e-3
