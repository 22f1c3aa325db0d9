"""Weights on the simplex: against a brute-force search of the same loss, and the edges."""

import numpy as np
import pytest

from dafm_core.evaluation.evaluate import evaluate, evaluate_providers
from dafm_core.fusion.static import WeightedFusion
from dafm_core.fusion.static.weighted import learn_weights
from dafm_core.ground.normalize import zscore_rows
from dafm_core.store.stack import SimilarityStack


def info_nce(scores, targets, scale):
    logits = np.where(
        np.isfinite(scores[:, 0]),
        np.nan_to_num(scores, neginf=0).transpose(0, 2, 1) @ scale,
        -np.inf,
    )
    peak = logits.max(axis=1)
    norm = np.log(np.exp(logits - peak[:, None]).sum(axis=1)) + peak
    return np.mean([norm[q] - logits[q, t].mean() for q, t in enumerate(targets)])


@pytest.mark.parametrize("n_targets", [1, 3])
def test_weights_minimise_the_loss(make_problem, rng, n_targets):
    dataset, stack = make_problem(n_targets=n_targets)
    weights = learn_weights(stack, dataset.targets, "zscore")
    scores = zscore_rows(stack.tile(0, stack.n_queries))
    strengths = np.linspace(0.1, 10, 100)
    reached = min(info_nce(scores, dataset.targets, s * weights) for s in strengths)
    for _ in range(60):
        other = rng.dirichlet(np.ones(stack.n_providers))
        reached_there = min(info_nce(scores, dataset.targets, s * other) for s in strengths[::5])
        assert reached <= reached_there + 1e-3


def test_weights_lie_on_the_simplex_and_leave_noise_out(make_problem):
    _, stack = make_problem(n_queries=200, noise=(1.0, 1.0, 60.0))
    fitted = WeightedFusion().fit(stack)
    assert fitted.weights_.sum() == pytest.approx(1)
    assert (fitted.weights_ >= 0).all()
    assert fitted.weights_[2] < 0.05


def test_it_beats_every_single_on_other_queries(make_problem):
    _, stack = make_problem(n_queries=400, noise=(1.5, 1.5, 2.0))
    fit, held_out = stack.split(test_size=0.5, seed=0)
    fused = evaluate(WeightedFusion().fit(fit), held_out).values["recall@1"]
    singles = evaluate_providers(held_out)
    assert fused > max(e.values["recall@1"] for e in singles.values())


def test_identical_and_constant_providers_are_defined(make_problem):
    dataset, stack = make_problem()
    first = stack.matrices[0]
    matrices = {"a": first, "b": first, "flat": np.zeros_like(first)}
    twins = SimilarityStack.from_matrices(matrices, dataset)
    weights = WeightedFusion().fit(twins).weights_
    assert np.isfinite(weights).all()
    assert weights[0] == pytest.approx(weights[1])


def test_only_flat_providers_get_equal_weights(make_problem):
    dataset, stack = make_problem(n_queries=12, noise=(1.0,))
    nothing = np.zeros((12, stack.n_gallery), np.float32)
    flat = SimilarityStack.from_matrices({"a": nothing, "b": nothing}, dataset)
    np.testing.assert_allclose(WeightedFusion().fit(flat).weights_, 0.5)


def test_memory_is_bounded_by_using_every_nth_query(make_problem, monkeypatch):
    dataset, stack = make_problem(n_queries=300)
    full = learn_weights(stack, dataset.targets, "zscore")
    monkeypatch.setattr("dafm_core.fusion.static.weighted.CACHE_BYTES", 100 * 3 * 40 * 4)
    some = learn_weights(stack, dataset.targets, "zscore")
    assert not np.array_equal(full, some)
    np.testing.assert_allclose(full, some, atol=0.15)
