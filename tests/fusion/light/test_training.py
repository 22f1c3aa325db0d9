"""The loop and its loss: against a naive softmax, sampled against exact, stopping and dropping."""

import numpy as np
import pytest
import torch

from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.light.network import PaperFusion, ResidualFusion
from dafm_core.fusion.light.options import PRESETS
from dafm_core.fusion.light.training import Batch, TrainingPlan, drop_providers, infonce, train

WITHOUT_EACH = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]], np.float64)


def plan(**changes):
    settings = {
        "n_epochs": 3,
        "batch_size": 32,
        "learning_rate": 5e-3,
        "weight_decay": 0.01,
        "temperature": 1.0,
        "temperature_rule": "fixed",
        "temperature_scale": 100.0,
        "gallery_weight": 1.0,
        "subset_weight": 0.3,
        "provider_dropout": 0.0,
        "shuffle_gallery": False,
    }
    return TrainingPlan(**settings | changes)


@pytest.fixture
def problem(make_problem):
    return make_problem(n_queries=200, n_gallery=120, n_targets=2)


def sample(problem, **changes):
    dataset, stack = problem
    settings = {"n_hard": 5, "n_uniform": 999, "seed": 0} | changes
    return make_examples(stack, dataset, ("rows",), **settings)


def residual(examples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return ResidualFusion(3, examples.context.shape[1], 8, generator=generator)


def test_the_loss_is_a_naive_softmax(problem, rng):
    examples = sample(problem).take(np.arange(7))
    logits = rng.normal(size=examples.log_weight.shape).astype(np.float32)
    expected = []
    for e, scores in enumerate(logits):
        own = np.exp(scores[examples.target[e]])
        everyone = np.exp(scores[np.isfinite(examples.log_weight[e])]).sum()
        near = np.exp(scores[examples.in_subset[e]]).sum()
        expected.append(examples.weight[e] * -(np.log(own / everyone) + 0.3 * np.log(own / near)))
    loss = infonce(torch.from_numpy(logits), Batch.of(examples), plan())
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_sampled_gradient_is_the_exact_one_on_average(problem):
    """Averaged over draws, within its standard error of the gradient over all candidates."""

    def gradient(examples):
        weights = torch.ones(3, requires_grad=True)
        batch = Batch.of(examples)
        scores = torch.einsum("c,ecw->ew", weights, batch.channels)
        infonce(scores, batch, plan(subset_weight=0.0)).backward()
        return weights.grad.numpy()

    exact = gradient(sample(problem))
    drawn = np.stack([gradient(sample(problem, n_uniform=10, seed=s)) for s in range(30)])
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - exact) < 4 * error + 1e-3).all()
    hard_only = sample(problem, n_uniform=10)
    hard_only.log_weight[hard_only.log_weight > 0] = -np.inf
    assert np.abs(gradient(hard_only) - exact).max() > 4 * np.abs(drawn - exact).max()


def test_the_partition_sum_is_estimated_without_bias(problem):
    scores = sample(problem)
    exact = np.exp(scores.channels.sum(axis=1) + scores.log_weight).sum(axis=1)
    draws = [sample(problem, n_uniform=10, seed=s) for s in range(40)]
    sums = np.stack([np.exp(d.channels.sum(axis=1) + d.log_weight).sum(axis=1) for d in draws])
    error = (sums / exact).mean(axis=1).std(ddof=1) / np.sqrt(len(draws))
    assert abs((sums / exact).mean() - 1) < 4 * error


def test_training_lowers_the_loss_and_keeps_the_best_epoch(problem):
    examples = sample(problem)
    network = residual(examples)
    history = train(
        network,
        examples,
        plan(n_epochs=6),
        weights=np.full((1, 3), 0.2),
        seed=0,
        validation=examples,
    )
    seen = [record["validation_loss"] for record in history if "validation_loss" in record]
    assert min(seen) < 0.8 * seen[0]
    steps = [record for record in history if "loss" in record]
    assert len(steps) == 6 * int(np.ceil(len(examples) / 32))
    assert {"epoch", "loss", "temperature"} == set(steps[0])


def test_a_network_that_never_helps_stays_where_it_started(problem):
    examples = sample(problem)
    network = residual(examples)
    before = {name: p.clone() for name, p in network.state_dict().items()}
    history = train(
        network,
        examples,
        plan(learning_rate=1e4, n_epochs=9),
        weights=np.ones((1, 3)),
        seed=0,
        validation=examples,
    )
    assert max(record["epoch"] for record in history) < 9  # out of patience
    for name, parameter in network.state_dict().items():
        torch.testing.assert_close(parameter, before[name])


def test_the_same_seed_gives_the_same_bits_whatever_the_global_one(problem):
    examples = sample(problem)
    states = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        network = residual(examples)
        settings = plan(provider_dropout=0.3)
        train(network, examples, settings, weights=WITHOUT_EACH, seed=5)
        states.append(network.state_dict())
    for name, parameter in states[0].items():
        assert torch.equal(parameter, states[1][name])


def test_dropping_takes_one_whole_provider_from_a_share_of_the_examples(problem):
    dataset, stack = problem
    made = make_examples(stack, dataset, ("rows", "ranks"), n_hard=5, n_uniform=999, seed=0)
    batch = Batch.of(made)
    generator = torch.Generator().manual_seed(0)
    dropped, lost = drop_providers(batch, 3, 0.5, generator)
    silent = (dropped.channels == 0).all(dim=2).reshape(-1, 2, 3)
    assert torch.equal(silent[:, 0], silent[:, 1])
    assert set(silent[:, 0].sum(dim=1).tolist()) == {0, 1}
    assert 0.4 < silent[:, 0].any(dim=1).float().mean() < 0.6
    quiet = (dropped.context.reshape(-1, 5, 3)[:, :3] == 0).all(dim=1)
    assert torch.equal(quiet, silent[:, 0])
    assert torch.equal(silent[:, 0].any(dim=1), lost > 0)
    assert silent[lost > 0, 0, lost[lost > 0] - 1].all()
    assert drop_providers(batch, 3, 0.0, generator)[0] is batch


def test_shuffling_takes_the_gallery_order_away_from_the_papers_network(problem):
    """The target always stands right of a marked candidate: a filter learns that."""
    examples = sample(problem)
    examples.channels[:] = np.random.default_rng(0).normal(size=examples.channels.shape)
    rows = np.arange(len(examples))
    examples.channels[rows, 0, (examples.target - 1) % 120] = 5.0
    losses = {}
    for shuffle in (False, True):
        network = PaperFusion(3, generator=torch.Generator().manual_seed(0))
        settings = plan(n_epochs=8, shuffle_gallery=shuffle, subset_weight=0.0)
        train(network, examples, settings, weights=np.zeros((1, 3)), seed=0)
        with torch.no_grad():
            batch = Batch.of(examples)
            losses[shuffle] = infonce(network(batch.channels, batch.context), batch, settings)
    assert losses[False] < 0.5 * losses[True]


def test_presets_are_as_printed():
    paper = PRESETS["paper"]
    printed = (paper.batch_size, paper.learning_rate, paper.temperature, paper.n_epochs)
    assert printed == (512, 2e-3, 0.02, 4)
    assert (paper.temperature_rule, paper.candidates, paper.objective) == (
        "paper",
        "exact",
        "gallery",
    )
