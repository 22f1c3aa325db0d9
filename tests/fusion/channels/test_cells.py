"""Channels of chosen candidates: those of all candidates, picked."""

import math
from dataclasses import replace

import numpy as np
import pytest

from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.cells import channels_at
from dafm_core.fusion.channels.drawing import Draw
from dafm_core.fusion.channels.families import FAMILIES
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.view import ChannelReader

ALL = tuple(FAMILIES)


def with_ties(tile):
    return np.where(np.isfinite(tile), np.round(tile), tile)


def constant(tile):
    return np.where(np.isfinite(tile) & (np.arange(tile.shape[1]) == 1)[:, None], 0.5, tile)


def with_unknown(tile):
    tile = tile.copy()
    tile[::2, 0, ::3] = np.where(np.isfinite(tile[::2, 0, ::3]), np.nan, -np.inf)
    return tile


def all_excluded(tile):
    return np.where(np.arange(len(tile))[:, None, None] == 0, -np.inf, tile)


@pytest.mark.parametrize("has_bank", [True, False])
@pytest.mark.parametrize("change", [np.copy, with_ties, constant, with_unknown, all_excluded])
def test_chosen_candidates_have_the_channels_they_have_among_all(
    make_problem, rng, change, has_bank
):
    _, stack = make_problem(n_gallery=70)
    near = rng.integers(-1, stack.n_gallery, (stack.n_gallery, 5)).astype(np.int32)
    stack = replace(stack, gallery=replace(stack.gallery, neighbours={"model-1": near}))
    bank = QueryBank.of(stack) if has_bank else None
    reader = ChannelReader.of(stack.gallery, Layout(ALL, stack.names), bank)
    view = reader.read(change(stack.tile(0, 9)).astype(np.float32))
    columns = np.stack([rng.permutation(stack.n_gallery)[:20] for _ in range(9)])
    expected = np.take_along_axis(view.channels(), columns[:, None], axis=2)
    made = channels_at(view, columns)
    for channel, (one, other) in enumerate(
        zip(made.swapaxes(0, 1), expected.swapaxes(0, 1), strict=True)
    ):
        np.testing.assert_allclose(one, other, atol=2e-5, err_msg=ALL[channel // 3])


def test_every_candidate_that_is_not_sure_is_drawn_equally_often(make_problem):
    _, stack = make_problem(n_queries=8, n_gallery=120)
    reader = ChannelReader.of(stack.gallery, Layout(("rows",), stack.names), None)
    view = reader.read(stack.tile(0, 8))
    kept = ~np.isneginf(view.tile[:, 0])
    wanted = np.zeros(kept.shape, bool)
    draw = Draw(stack.gallery_ids, 2, 30, np.random.default_rng(0))
    n_times, n_draws = np.zeros(kept.shape), 400
    for _ in range(n_draws):
        columns, log_weight = draw(view.evidence, view.ordered[:, :, -2], wanted, kept)
        assert all(len(set(row)) == draw.width for row in columns.tolist())
        np.put_along_axis(n_times, columns, np.take_along_axis(n_times, columns, 1) + 1, axis=1)
    assert not n_times[~kept].any()
    for row in range(8):
        rest = n_times[row][kept[row] & (n_times[row] < n_draws)]
        share = rest.mean() / n_draws
        assert math.exp(-log_weight[row].max()) == pytest.approx(share, rel=1e-3)
        spread = math.sqrt(share * (1 - share) * n_draws)
        assert abs(rest - rest.mean()).max() < 5 * spread
