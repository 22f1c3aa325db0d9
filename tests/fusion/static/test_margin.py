"""Confidence margins, by hand."""

import numpy as np
import pytest

from dafm_core.errors import OptionError
from dafm_core.fusion.static import MarginFusion, MeanFusion
from dafm_core.fusion.static.margin import margins


def test_margin_trusts_the_surer_model():
    scaled = np.array([[[3.0, 0.0, -1.0], [1.0, 0.9, -1.0]]], np.float32)
    np.testing.assert_allclose(margins(scaled), [[3.0, 0.1]], rtol=1e-5)
    assert margins(scaled[..., :1]).tolist() == [[0.0, 0.0]]


def test_without_sharpness_it_is_the_plain_mean(make_problem):
    _, stack = make_problem()
    flat = MarginFusion(sharpness=0).fuse(stack).scores
    mean = MeanFusion(normalize="zscore").fuse(stack).scores
    np.testing.assert_allclose(flat, mean, atol=1e-5)


def test_a_negative_sharpness_is_refused():
    with pytest.raises(OptionError, match="expected sharpness >= 0, got -1"):
        MarginFusion(sharpness=-1)
