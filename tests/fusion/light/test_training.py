"""The loop and its loss: against a naive softmax, sampled against exact, and stopping."""

import numpy as np
import pytest
import torch

from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.light.ensemble import with_linear
from dafm_core.fusion.light.network import ResidualFusion
from dafm_core.fusion.light.options import LossWeights, TrainingOptions
from dafm_core.fusion.light.training import Batch, TorchLoss, Validation, infonce, train

BOTH = LossWeights(1.0, 0.3)
GALLERY = LossWeights(1.0, 0.0)


@pytest.fixture
def stack(make_problem):
    return make_problem(n_queries=200, n_gallery=120, n_targets=2)[1]


def sample(stack, **changes):
    settings = {"n_hard": 5, "n_uniform": 999, "seed": 0} | changes
    return make_examples(stack, ("rows",), **settings)


def residual(examples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return ResidualFusion(3, examples.context.shape[1], 8, generator=generator)


def beside(weight):
    """Return a change of batches: the same weight of every channel is a linear fusion."""
    return lambda batch, generator: with_linear(batch, torch.full((1, 3), weight))


def run(network, examples, weight, **changes):
    """Train beside linear weights, stopping early on the very examples trained on."""
    options = {"n_epochs": 3, "batch_size": 32, "learning_rate": 5e-3} | changes
    data, everyone = Batch.of(examples), torch.arange(len(examples))
    change = beside(weight)
    return train(
        network,
        TorchLoss(network, data, BOTH, change),
        everyone,
        TrainingOptions(**options),
        seed=0,
        validation=Validation(network, data, everyone, BOTH, lambda batch: change(batch, None)),
    )


def test_the_loss_is_a_naive_softmax(stack, rng):
    examples = sample(stack).take(np.arange(7))
    logits = rng.normal(size=examples.log_weight.shape).astype(np.float32)
    expected = []
    for e, scores in enumerate(logits):
        own = np.exp(scores[examples.target[e]])
        everyone = np.exp(scores[np.isfinite(examples.log_weight[e])]).sum()
        near = np.exp(scores[examples.in_subset[e]]).sum()
        expected.append(examples.weight[e] * -(np.log(own / everyone) + 0.3 * np.log(own / near)))
    loss = infonce(torch.from_numpy(logits), Batch.of(examples), BOTH)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_sampled_gradient_is_the_exact_one_on_average(stack):
    """Averaged over draws, within its standard error of the gradient over all candidates."""

    def gradient(examples):
        weights = torch.ones(3, requires_grad=True)
        batch = Batch.of(examples)
        scores = torch.einsum("c,ecw->ew", weights, batch.channels)
        infonce(scores, batch, GALLERY).backward()
        return weights.grad.numpy()

    exact = gradient(sample(stack))
    drawn = np.stack([gradient(sample(stack, n_uniform=10, seed=s)) for s in range(30)])
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - exact) < 4 * error + 1e-3).all()
    hard_only = sample(stack, n_uniform=10)
    hard_only.log_weight[hard_only.log_weight > 0] = -np.inf
    assert np.abs(gradient(hard_only) - exact).max() > 4 * np.abs(drawn - exact).max()


def test_the_partition_sum_is_estimated_without_bias(stack):
    scores = sample(stack)
    exact = np.exp(scores.channels.sum(axis=1) + scores.log_weight).sum(axis=1)
    draws = [sample(stack, n_uniform=10, seed=s) for s in range(40)]
    sums = np.stack([np.exp(d.channels.sum(axis=1) + d.log_weight).sum(axis=1) for d in draws])
    error = (sums / exact).mean(axis=1).std(ddof=1) / np.sqrt(len(draws))
    assert abs((sums / exact).mean() - 1) < 4 * error


def test_training_lowers_the_loss_and_keeps_the_best_epoch(stack):
    examples = sample(stack)
    network = residual(examples)
    history = run(network, examples, 0.2, n_epochs=6)
    seen = [record["validation_loss"] for record in history if "validation_loss" in record]
    assert min(seen) < 0.8 * seen[0]
    steps = [record for record in history if "loss" in record]
    assert len(steps) == 6 * int(np.ceil(len(examples) / 32))
    assert {"epoch", "loss", "temperature"} == set(steps[0])
    batch = beside(0.2)(Batch.of(examples), None)
    with torch.no_grad():
        logits = batch.base + network(batch.channels, batch.context)
    assert infonce(logits, batch, BOTH).item() == pytest.approx(min(seen), rel=1e-5)


def test_a_network_that_never_helps_stays_where_it_started(stack):
    examples = sample(stack)
    network = residual(examples)
    before = {name: p.clone() for name, p in network.state_dict().items()}
    history = run(network, examples, 1.0, learning_rate=100.0, n_epochs=9)
    assert max(record["epoch"] for record in history) == TrainingOptions().patience < 9
    for name, parameter in network.state_dict().items():
        torch.testing.assert_close(parameter, before[name])


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_is_how_many_epochs_without_gain_are_waited_for(stack, patience):
    examples = sample(stack).take(np.arange(50))
    history = run(
        residual(examples), examples, 1.0, learning_rate=100.0, n_epochs=9, patience=patience
    )
    assert max(record["epoch"] for record in history) == patience


def test_a_shuffled_batch_scores_the_same_candidates(stack):
    batch = Batch.of(sample(stack))
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    moved = batch.permuted(order)
    rows = torch.arange(len(batch.target))
    torch.testing.assert_close(
        moved.channels[rows, :, moved.target], batch.channels[rows, :, batch.target]
    )
    losses = [infonce(b.channels.sum(dim=1), b, BOTH).item() for b in (batch, moved)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
