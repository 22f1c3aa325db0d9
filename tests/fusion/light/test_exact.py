"""The exact loss in blocks, and as a loop to compile, against the network as printed."""

import numpy as np
import pytest
import torch

from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.light import exact, exact_blocks
from dafm_core.fusion.light.compiled import compiled, exact_rows, ordering, write_in_order
from dafm_core.fusion.light.exact import ExactExamples, step_loss, train_exactly
from dafm_core.fusion.light.network import PaperNetwork
from dafm_core.fusion.light.options import LossWeights, TrainingOptions
from dafm_core.fusion.light.training import Batch, TorchLoss, infonce, train

GALLERY = LossWeights(gallery=1.0, subset=0.0)
IDLE = "light.down.bias"
"""Adds the same to every candidate, so that its gradient is zero, or what rounding makes of it."""


@pytest.fixture(scope="module")
def stack(make_problem):
    return make_problem(n_queries=6, n_gallery=11, n_targets=2, subset_size=2)[1]


def new_network(stack):
    return PaperNetwork(
        stack.n_providers, n_hidden=5, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()


def all_candidates(stack):
    return make_examples(
        stack, ("minmax",), n_hard=1, n_uniform=stack.n_gallery, seed=0, in_file_order=True
    )


@pytest.mark.parametrize("kernel", [exact_blocks.exact_rows_in_blocks, exact_rows])
def test_loss_and_gradient_are_those_of_the_network(stack, monkeypatch, kernel):
    monkeypatch.setattr(exact, "compiled", lambda: kernel)
    monkeypatch.setattr(exact_blocks, "BLOCK", 4)  # several blocks, the last of them shorter
    monkeypatch.setattr(exact, "GROUP_CELLS", 5 * stack.n_gallery)
    monkeypatch.setitem(exact_rows.__globals__, "CHUNK", 4)
    batch = Batch.of(all_candidates(stack))
    one, two = new_network(stack), new_network(stack)
    tau = torch.tensor(0.05, requires_grad=True)
    expected = infonce(one(batch.channels) / tau, batch, GALLERY)
    expected.backward()
    by_hand = torch.tensor(0.05, requires_grad=True)
    examples = ExactExamples(stack, stack.dataset.targets)
    loss = step_loss(two, examples, np.arange(len(examples)), by_hand)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert by_hand.grad.item() == pytest.approx(tau.grad.item(), rel=1e-4)
    for (name, p), q in zip(one.named_parameters(), two.parameters(), strict=True):
        if name != IDLE:
            np.testing.assert_allclose(q.grad, p.grad, rtol=1e-4, atol=1e-5, err_msg=name)


def test_machine_code_puts_columns_in_order_as_numpy_does(monkeypatch):
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)
    rng = np.random.default_rng(0)
    scores, rows, columns = rng.random((5, 3, 40), np.float32), [4, 0, 4], rng.permutation(40)
    for loop in (ordering.__wrapped__(), write_in_order):
        out = np.full((3, 3, 40), np.nan, np.float32)
        loop(scores, np.array(rows), columns, out)
        np.testing.assert_array_equal(out, scores[rows][:, :, columns])


def test_machine_code_gives_the_numbers_of_the_loop(monkeypatch):
    """Tests turn compiling off (ranx is quicker so); here it is what is tested."""
    numba = pytest.importorskip("numba", reason="Numba is the extra dafm-core[compiled]")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)
    machine_code = compiled.__wrapped__()  # not the answer that is remembered
    rng = np.random.default_rng(0)
    n_rows, n_models, n_gallery, n_hidden, n_taps = 3, 2, 1030, 4, 3  # a chunk, and six more
    target = np.array([0, 1023, 1029])
    removed = rng.random((n_rows, n_gallery)) < 0.1
    removed[np.arange(n_rows), target] = False
    shapes = (n_taps, n_hidden, n_models), (n_taps, n_hidden), n_hidden, n_hidden, n_models
    weights = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    x = rng.random((n_rows, n_models, n_gallery), np.float32)
    share = np.full(n_rows, 1 / n_rows, np.float32)
    made = []
    for kernel in (machine_code, exact_rows):
        outputs = [np.zeros(n_rows), *map(np.zeros_like, weights)]
        kernel(x, removed, target, share, np.float32(0.5), *weights, *outputs)
        made.append(outputs)
    for name, got, expected in zip(("loss", *"abcde"), *made, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("kept_bytes", [0, 1 << 20])
def test_training_takes_the_steps_of_the_plain_loop(stack, monkeypatch, kept_bytes):
    monkeypatch.setattr(exact, "KEPT_BYTES", kept_bytes)
    options = TrainingOptions(n_epochs=3, batch_size=5, temperature=0.05, temperature_rule="paper")
    one, two = new_network(stack), new_network(stack)
    data = Batch.of(all_candidates(stack))

    def shuffled(batch, generator):
        return batch.permuted(torch.randperm(stack.n_gallery, generator=generator))

    loss_of = TorchLoss(one, data, GALLERY, shuffled)
    expected = train(one, loss_of, torch.arange(len(data.target)), options, seed=3, n_steps=7)
    examples = ExactExamples(stack, stack.dataset.targets)
    made = train_exactly(two, examples, options, n_steps=7, shuffled=True, seed=3)
    assert len(made) == len(expected) == 7
    for record, other in zip(made, expected, strict=True):
        assert record == pytest.approx(other, rel=1e-4, abs=1e-6)  # sums of float32
    for (name, p), q in zip(one.named_parameters(), two.parameters(), strict=True):
        if name != IDLE:
            np.testing.assert_allclose(q.detach(), p.detach(), atol=2e-3, err_msg=name)


def test_threads_change_no_bit(stack, monkeypatch):
    monkeypatch.setattr(exact, "GROUP_CELLS", 2 * stack.n_gallery)
    monkeypatch.setattr(exact, "compiled", lambda: exact_blocks.exact_rows_in_blocks)
    examples, found = ExactExamples(stack, stack.dataset.targets), []
    for n_threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        network = new_network(stack)
        loss = step_loss(network, examples, np.arange(len(examples)), torch.tensor(0.05))
        found.append((loss, network.light.up.weight.grad.numpy().copy()))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_columns_of_another_gallery_are_read_in_its_order(stack, rng):
    order = rng.permutation(stack.n_gallery)
    shuffled = stack.take_gallery([stack.gallery_ids[j] for j in order])
    rows = np.array([4, 1, 3])
    np.testing.assert_array_equal(shuffled.read(rows), stack.read(rows)[:, :, order])
    np.testing.assert_array_equal(stack.read(rows), stack.tile(0, 6)[rows])
