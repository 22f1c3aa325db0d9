"""The linear fusion: a minimum of the loss, which a naive loop computes too."""

from dataclasses import replace

import numpy as np
import pytest

from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.light import linear, linear_loops
from dafm_core.fusion.light.linear import (
    Prior,
    fit_linear,
    provider_sets,
    scaled,
    smallest_holding,
)
from dafm_core.fusion.light.options import LossWeights

STRENGTH = 40.0


@pytest.fixture
def examples(make_problem):
    _, stack = make_problem(n_queries=200)
    return make_examples(stack, ("rows", "ranks"), n_hard=5, n_uniform=99, seed=0)


def fitted(examples, loss_weights, prior, *, strength=STRENGTH):
    return fit_linear(examples, loss_weights, prior=Prior.alike(prior), strength=strength).weights


def loss(examples, weights, *, subset):
    scores = np.einsum("c,ecw->ew", weights, examples.channels.astype(np.float64))
    own = scores[np.arange(len(scores)), examples.target]
    everyone = np.log(np.exp(scores + examples.log_weight).sum(axis=1)) - own
    near = np.log(np.where(examples.in_subset, np.exp(scores), 0).sum(axis=1)) - own
    return everyone.mean() + subset * near.mean() + STRENGTH * weights @ weights / 2 / len(scores)


@pytest.mark.parametrize("subset", [0.0, 0.5])
def test_no_weights_nearby_are_better(examples, subset):
    weights = fitted(examples, LossWeights(1.0, subset), np.zeros(6))
    lowest = loss(examples, weights, subset=subset)
    for direction in np.eye(6) * 0.05:
        for sign in (1, -1):
            assert loss(examples, weights + sign * direction, subset=subset) > lowest


def test_a_twin_channel_shares_its_weight(examples):
    twins = np.concatenate([examples.channels[:, :1]] * 2, axis=1)
    weights = fitted(replace(examples, channels=twins), LossWeights(1.0, 0.0), np.zeros(2))
    assert weights[0] == pytest.approx(weights[1], rel=1e-4)


def test_a_handful_of_examples_leaves_the_prior_nearly_in_place(examples):
    few = examples.take(np.arange(1))
    prior = np.full(6, 0.5)
    weights = fitted(few, LossWeights(1.0, 0.0), prior)
    assert np.abs(weights - prior).max() < 0.1


def test_a_prior_is_scaled_to_the_data_before_anything_pulls_away_from_it(examples):
    loss_weights = LossWeights(1.0, 0.0)
    best = fitted(examples, loss_weights, np.zeros(6), strength=1e-6)
    for factor in (0.1, 0.5, 10.0):
        np.testing.assert_allclose(scaled(examples, loss_weights, factor * best), best, rtol=0.2)


def test_a_set_of_providers_for_every_one_that_may_be_missing():
    sets = provider_sets(3)
    assert sets.sum(axis=1).tolist() == [3, 2, 2, 2, 1, 1, 1]
    for present, size in (([0, 1, 2], 3), ([0, 2], 2), ([1], 1)):
        chosen = sets[smallest_holding(sets, np.isin(np.arange(3), present))]
        assert chosen.sum() == size
        assert chosen[present].all()
    assert provider_sets(1).tolist() == [[True]]


def test_with_two_of_four_providers_the_smallest_set_that_holds_both_is_used():
    sets = provider_sets(4)
    chosen = sets[smallest_holding(sets, np.array([True, False, True, False]))]
    assert chosen.sum() == 3
    assert chosen[[0, 2]].all()


def test_it_ends_where_all_examples_lead_wherever_some_of_them_began(examples, monkeypatch):
    fits = []
    for enough in (10**6, len(examples) // 8):
        monkeypatch.setattr(linear, "ENOUGH", enough)
        monkeypatch.setattr(linear, "BLOCK", 16)
        prior = Prior.alike(np.full(examples.layout.n_channels, 0.1))
        fits.append(fit_linear(examples, LossWeights(1.0, 0.3), prior=prior, strength=5.0))
    assert fits[1].loss == pytest.approx(fits[0].loss, abs=1e-6)
    np.testing.assert_allclose(fits[1].weights, fits[0].weights, atol=2e-2)
    assert len(linear.some_blocks(examples)) < len(linear._blocks(examples))


@pytest.fixture(scope="module", params=["machine code", "python"])
def loop(request):
    if request.param == "python":
        yield linear_loops.add_infonce
        return
    numba = pytest.importorskip("numba", reason="Numba is the extra dafm-core[compiled]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", 0)
        yield linear_loops.linear_loop.__wrapped__()  # not the answer that is remembered


@pytest.mark.parametrize("loss_weights", [(1.0, 0.0), (1.0, 0.3), (0.0, 1.0)])
@pytest.mark.parametrize(
    "used", [None, [True, False, True, True, False, True], [False] * 5 + [True]]
)
def test_machine_code_finds_the_same_loss_slope_and_curvature(
    loop, make_problem, loss_weights, used, monkeypatch
):
    _, stack = make_problem(n_queries=40)
    examples = make_examples(stack, ("rows", "ranks"), n_hard=5, n_uniform=9, seed=0)
    used = None if used is None else np.array(used)
    weights = np.random.default_rng(0).normal(size=6 if used is None else used.sum())
    terms = linear._terms(examples, LossWeights(*loss_weights))
    asked = examples, terms, weights, [slice(0, 25), slice(25, 40)], used
    plain = linear._infonce(*asked)
    monkeypatch.setattr(linear, "MANY", 1)
    monkeypatch.setattr(linear, "linear_loop", lambda: loop)
    for made, expected in zip(linear._infonce(*asked), plain, strict=True):
        np.testing.assert_allclose(made, expected, rtol=2e-5, atol=2e-6)
