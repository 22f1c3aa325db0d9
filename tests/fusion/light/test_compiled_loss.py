"""The loss by machine code, and what it changes with, are those that torch finds."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.light import ensemble, residual_loops
from dafm_core.fusion.light.compiled_loss import CompiledLoss
from dafm_core.fusion.light.ensemble import ProviderDropout, train_ensemble, with_linear
from dafm_core.fusion.light.network import ResidualFusion
from dafm_core.fusion.light.options import LightOptions, LossWeights
from dafm_core.fusion.light.residual_loops import ResidualLoops
from dafm_core.fusion.light.training import Batch, infonce, score


@pytest.fixture(scope="module", params=["machine code", "python"])
def loops(request):
    if request.param == "python":
        yield ResidualLoops(residual_loops.residual_infonce, residual_loops.residual_scores)
        return
    numba = pytest.importorskip("numba", reason="Numba is the extra dafm-core[compiled]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", 0)
        yield residual_loops.residual_loops.__wrapped__()  # not the answer that is remembered


@pytest.fixture(scope="module")
def examples(make_problem):
    stack = make_problem(n_queries=40, n_gallery=50)[1]
    return make_examples(stack, ("rows", "ranks"), n_hard=5, n_uniform=9, seed=0)


def a_network(examples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n_context = examples.context.shape[1]
    network = ResidualFusion(examples.layout.n_channels, n_context, 7, generator=generator)
    with torch.no_grad():  # at first nothing goes through it
        network.score.normal_(generator=generator)
        network.query.normal_(generator=generator).mul_(0.1)
    return network


@pytest.mark.parametrize("loss_weights", [(1.0, 0.0), (1.0, 0.3), (0.0, 1.0)])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_loss_and_derivatives_are_those_of_torch(loops, examples, loss_weights, share):
    weights = LossWeights(*loss_weights)
    n_models = len(examples.layout.providers)
    linear = np.random.default_rng(0).normal(size=(1 + n_models, examples.layout.n_channels))
    linear = linear.astype(np.float32)
    dropping = ProviderDropout(torch.from_numpy(linear), n_models, share)
    network, rows = a_network(examples), torch.tensor([3, 0, 11, 7, 19, 2, 2, 30])
    tau = torch.tensor(0.6, requires_grad=True)
    parameters = [tau, *network.parameters()]

    batch = dropping(Batch.of(examples).take(rows), torch.Generator().manual_seed(1))
    expected = infonce(score(network, batch) / tau, batch, weights)
    slopes = torch.autograd.grad(expected, parameters)
    loss_of = CompiledLoss(examples, weights, linear, dropping.draw, loops).of(network)
    found = loss_of(rows, torch.Generator().manual_seed(1), tau)

    assert found == pytest.approx(expected.item(), rel=1e-5)
    for parameter, slope in zip(parameters, slopes, strict=True):
        torch.testing.assert_close(parameter.grad, slope, rtol=1e-4, atol=1e-5)
    loss_of(rows, torch.Generator().manual_seed(1), tau)
    for parameter, slope in zip(parameters, slopes, strict=True):  # they are added up
        torch.testing.assert_close(parameter.grad, 2 * slope, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("n_candidates", [3, 24, 300])
def test_scores_are_those_of_torch(loops, examples, n_candidates):
    """Of few candidates that lie side by side, and of more than fill a row."""
    columns = np.arange(n_candidates) % examples.channels.shape[2]
    wide = replace(examples, channels=np.ascontiguousarray(examples.channels[:, :, columns]))
    linear = np.random.default_rng(0).normal(size=(3, wide.layout.n_channels)).astype(np.float32)
    network, rows = a_network(wide), torch.arange(11)
    batch = with_linear(Batch.of(wide).take(rows), torch.from_numpy(linear[:1]))
    found = CompiledLoss(wide, LossWeights(1.0, 0.0), linear, None, loops).scores_of(network)
    torch.testing.assert_close(found(rows), score(network, batch), rtol=1e-5, atol=1e-5)


def test_networks_are_those_that_torch_trains(loops, examples, monkeypatch):
    monkeypatch.setattr(ensemble, "MIN_EXAMPLES", 10)
    monkeypatch.setattr(ensemble, "N_VALIDATION_FOLDS", 2)
    options = LightOptions.of({"n_seeds": 1, "n_hidden": 4, "n_epochs": 3, "batch_size": 8})
    linear = np.full((1 + len(examples.layout.providers), examples.layout.n_channels), 0.1)
    (plain,), _ = train_ensemble(options, examples, linear, progress=None)
    monkeypatch.setattr(
        ensemble, "compiled_loss", lambda *inputs: CompiledLoss(*inputs, loops=loops)
    )
    (made,), _ = train_ensemble(options, examples, linear, progress=None)
    for one, other in zip(made.parameters(), plain.parameters(), strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


STEP = """
import hashlib
import numpy as np
from dafm_core.fusion.light.residual_loops import residual_loops

rng = np.random.default_rng(0)
normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
n, n_channels, width, n_hidden, n_context = 64, 8, 220, 8, 4
examples = normal(n, n_channels, width), normal(n, n_context), rng.integers(0, width, n)
weights = np.zeros((n, width), np.float32), np.full((n, width), -1e30, np.float32)
of_each = np.zeros(n, bool), np.ones(n, np.float32)
step = np.arange(n), np.zeros(n, np.int64), 2, normal(3, n_channels), np.float32([1, 0]), 0.7
network = normal(n_hidden, n_channels), normal(n_hidden), normal(n_hidden, n_context)
network += (normal(n_hidden),)
slopes, by_tau = tuple(np.zeros_like(part) for part in network), np.empty(1, np.float32)
loop = residual_loops().infonce
loop(*examples, *weights, *of_each, *step, *network, slopes, by_tau)
print(hashlib.sha256(b"".join(part.tobytes() for part in slopes)).hexdigest())
print(sum(loop.stats.cache_misses.values()))
"""


def test_what_is_compiled_and_what_is_loaded_from_disk_give_the_same_bits(tmp_path):
    pytest.importorskip("numba", reason="Numba is the extra dafm-core[compiled]")
    there = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0"}
    bits, compiled = zip(
        *(
            subprocess.run(
                [sys.executable, "-c", STEP], env=there, capture_output=True, text=True, check=True
            ).stdout.split()
            for _ in range(2)
        ),
        strict=True,
    )
    assert compiled == ("1", "0")
    assert bits[0] == bits[1]
