"""What a fusion learns from is the same, by machine code and by NumPy."""

import numpy as np
import pytest

from dafm_core.fusion.channels import compiled_rows, examples, sampling
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.drawing import Draw
from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.channels.families import FAMILIES
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.sampling import CompiledSampler, PlainSampler
from dafm_core.fusion.channels.view import ChannelReader

ALL = tuple(FAMILIES)
N_GALLERY, N_HARD, WIDTH = 60, 4, 30


@pytest.fixture(scope="module")
def stack(make_problem):
    return make_problem(n_queries=20, n_gallery=N_GALLERY)[1]


@pytest.mark.parametrize("change", ["none", "ties", "level", "few"])
def test_machine_code_samples_as_numpy_does(loops, stack, change, monkeypatch):
    monkeypatch.setattr(compiled_rows, "BLOCK_BYTES", 16 * stack.tile(0, 1).nbytes)
    tile = stack.tile(0, 18).astype(np.float32)  # more than are read at a time
    if change == "few":  # have a score
        tile[:, :, : N_GALLERY // 2] = -np.inf
    elif change != "none":
        level = np.round(tile) if change == "ties" else np.zeros_like(tile)
        tile = np.where(np.isfinite(tile), level, tile)
    reader = ChannelReader.of(stack.gallery, Layout(ALL, stack.names), QueryBank.of(stack))
    kept = ~np.isneginf(tile[:, 0])
    wanted = np.zeros(kept.shape, bool)
    wanted[:, 7] = True
    made, plain = (
        sampler(tile, wanted, kept)
        for sampler in (
            CompiledSampler(reader, drawing(stack), loops),
            PlainSampler(reader, drawing(stack)),
        )
    )
    np.testing.assert_array_equal(made.columns, plain.columns)
    np.testing.assert_array_equal(made.log_weight, plain.log_weight)
    np.testing.assert_allclose(made.context, plain.context, atol=2e-5)
    np.testing.assert_allclose(made.channels, plain.channels, rtol=1e-4, atol=2e-5)


def test_ranks_below_the_first_are_those_of_their_bucket(loops, stack, monkeypatch):
    monkeypatch.setattr(sampling, "N_EXACT", N_HARD)
    tile = stack.tile(0, 18).astype(np.float32)
    reader = ChannelReader.of(stack.gallery, Layout(("ranks",), stack.names), QueryBank.of(stack))
    kept = ~np.isneginf(tile[:, 0])
    wanted = np.zeros(kept.shape, bool)
    made, plain = (
        sampler(tile, wanted, kept).channels
        for sampler in (
            CompiledSampler(reader, drawing(stack), loops),
            PlainSampler(reader, drawing(stack)),
        )
    )
    exact = plain >= np.sort(plain, axis=2)[:, :, -N_HARD, None]
    np.testing.assert_allclose(made[exact], plain[exact], atol=2e-5)
    np.testing.assert_allclose(made, plain, atol=np.log(1.5))  # at most a neighbour in the bucket


@pytest.mark.parametrize("width", [12, 20, 40])
@pytest.mark.parametrize("n_gone", [0, 300])
def test_machine_code_draws_as_numpy_does(loops, width, n_gone):
    """Also where a row's first lots are too few, as they are once in a while of so many rows."""
    n_gallery, seed = 400, np.random.default_rng(1)
    sure = seed.random((50, n_gallery)) < 0.005
    kept = np.full(sure.shape, True)
    kept[::2, :n_gone] = False
    names = [f"i{n}" for n in seed.permutation(n_gallery)]
    draws = [Draw(names, 1, width, np.random.default_rng(0)) for _ in range(2)]
    for start in (0, 10, 20, 30, 40):
        rows = slice(start, start + 10)
        some = sure[rows] & kept[rows], kept[rows]
        made, plain = draws[0].around(*some, loops.draw_around), draws[1].around(*some)
        np.testing.assert_array_equal(made[0], plain[0])
        np.testing.assert_array_equal(made[1], plain[1])
    assert draws[0].rng.random() == draws[1].rng.random()


def drawing(stack):
    return Draw(stack.gallery_ids, N_HARD, WIDTH, np.random.default_rng(0))


def test_examples_are_sampled_so_where_queries_are_many(loops, stack, monkeypatch):
    settings = {"n_hard": N_HARD, "n_uniform": 9, "seed": 0}
    plain = make_examples(stack, ALL, **settings)
    monkeypatch.setattr(examples, "WORTH_COMPILING", stack.n_queries)
    monkeypatch.setattr(examples, "row_loops", lambda: loops)
    made = make_examples(stack, ALL, **settings)
    for name in ("target", "log_weight", "in_subset", "weight", "groups"):
        np.testing.assert_array_equal(getattr(made, name), getattr(plain, name))
    np.testing.assert_allclose(made.channels, plain.channels, rtol=1e-4, atol=2e-5)
    assert not np.array_equal(made.channels, plain.channels)  # another way was taken


def test_all_candidates_are_looked_at_exactly(stack, monkeypatch):
    monkeypatch.setattr(examples, "WORTH_COMPILING", 1)
    monkeypatch.setattr(examples, "row_loops", lambda: pytest.fail("no part is sampled"))
    made = make_examples(stack, ("ranks",), n_hard=2, n_uniform=N_GALLERY, seed=0)
    assert made.channels.shape[2] == N_GALLERY
