"""What a program has set for all of torch changes no bit of a fusion."""

from contextlib import ExitStack, contextmanager

import pytest
import torch
from numpy.testing import assert_array_equal

from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.fusion.paper import PaperFusion


@contextmanager
def dtype(kind):
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SET = {
    "double": lambda: dtype(torch.float64),
    "half": lambda: dtype(torch.bfloat16),
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "another device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.fixture(scope="module")
def fitted(make_problem):
    """Return a stack, and a function that fits both kinds of network on it and fuses it."""
    _, stack = make_problem(n_queries=220, n_gallery=12)

    def fit():
        light, paper = LightFusion(n_seeds=1, n_epochs=1), PaperFusion(n_steps=2)
        return [fuser.fit(stack).fuse(stack).scores for fuser in (light, paper)]

    return fit, fit()


@pytest.mark.parametrize("kind", SET)
def test_a_fit_and_its_scores_are_the_same(fitted, kind):
    fit, expected = fitted
    with ExitStack() as exits:
        exits.enter_context(SET[kind]())
        found = fit()
    for scores, usual in zip(found, expected, strict=True):
        assert_array_equal(scores, usual)
