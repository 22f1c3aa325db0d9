"""Several networks beside one linear fusion: dropping providers, seeds, and too few queries."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.light.ensemble import ProviderDropout, train_ensemble
from dafm_core.fusion.light.options import LightOptions
from dafm_core.fusion.light.training import Batch

LINEAR = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]], np.float64) / 3
"""Weights of one family of three providers: with all, and without each."""


@pytest.fixture
def examples(make_problem):
    _, stack = make_problem(n_queries=240, n_gallery=60)
    return make_examples(stack, ("rows",), n_hard=5, n_uniform=20, seed=0)


def ensemble(examples, **options):
    chosen = LightOptions.of({"n_seeds": 1, "n_epochs": 2} | options)
    return train_ensemble(chosen, examples, LINEAR, progress=None)


def test_dropping_takes_one_whole_provider_from_a_share_of_the_examples(make_problem):
    _, stack = make_problem(n_queries=200, n_gallery=120)
    made = make_examples(stack, ("rows", "ranks"), n_hard=5, n_uniform=999, seed=0)
    linear = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(0)
    batch = Batch.of(made)
    left = ProviderDropout(linear, 3, 0.5)(batch, generator)
    silent = (left.channels == 0).all(dim=2).reshape(-1, 2, 3)
    assert torch.equal(silent[:, 0], silent[:, 1])
    assert set(silent[:, 0].sum(dim=1).tolist()) == {0, 1}
    assert 0.4 < silent[:, 0].any(dim=1).float().mean() < 0.6
    quiet = (left.context.reshape(-1, 5, 3)[:, :3] == 0).all(dim=1)
    assert torch.equal(quiet, silent[:, 0])
    lost = torch.where(silent[:, 0].any(dim=1), silent[:, 0].int().argmax(dim=1) + 1, 0)
    expected = torch.einsum("ec,ecw->ew", linear[lost], left.channels)
    torch.testing.assert_close(left.base, expected)


@pytest.mark.parametrize(("n_providers", "share"), [(3, 0.0), (1, 0.5)])
def test_nothing_is_dropped_where_none_is_asked_for_or_none_would_be_left(
    examples, n_providers, share
):
    batch = Batch.of(examples)
    linear = torch.from_numpy(LINEAR.astype(np.float32))
    left = ProviderDropout(linear, n_providers, share)(batch, torch.Generator())
    assert torch.equal(left.channels, batch.channels)
    torch.testing.assert_close(left.base, batch.channels.mean(dim=1))


def test_the_same_seed_gives_the_same_bits_whatever_the_global_one(examples):
    states = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        (network,), _ = ensemble(examples, provider_dropout=0.3, seed=5)
        states.append(network.state_dict())
    (other,), _ = ensemble(examples, provider_dropout=0.3, seed=6)
    for name, parameter in states[0].items():
        assert torch.equal(parameter, states[1][name])
        assert not torch.equal(parameter, other.state_dict()[name])


def test_every_network_is_stopped_on_queries_of_another_fold(examples):
    _, histories = ensemble(examples, n_seeds=3)
    starts = [history[0]["validation_loss"] for history in histories]
    assert len(set(starts)) == 3  # at the start all networks are the same: other queries
    for history in histories:
        assert {"epoch", "validation_loss", "recall@1", "recall@10"} == set(history[0])


def test_too_few_examples_or_groups_give_no_networks_and_say_so(examples, caplog):
    assert ensemble(examples.take(np.arange(199))) == ([], [])
    assert "199 training examples in 50 groups support no more than the linear" in caplog.text
    caplog.clear()
    one_group = replace(examples, groups=np.repeat("set", len(examples)))
    assert ensemble(one_group) == ([], [])
    assert "240 training examples in 1 groups support no more than the linear" in caplog.text
    caplog.clear()
    assert ensemble(examples, network="linear") == ([], [])
    assert caplog.text == ""


def test_progress_is_complete_where_a_network_stops_early(examples):
    steps = []
    options = LightOptions.of({"n_seeds": 2, "n_epochs": 50, "learning_rate": 0.3})
    train_ensemble(options, examples, LINEAR, progress=lambda *step: steps.append(step))
    assert steps[0] == ("network 1 of 2", 0, 50)
    name, done, total = steps[-1]
    assert name == "network 2 of 2"
    assert done == total < 50
