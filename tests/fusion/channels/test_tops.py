"""Two stages: what is chosen is scored as whole rows are, by machine code and by NumPy alike."""

from dataclasses import replace

import numpy as np
import pytest

from dafm_core.errors import OptionError
from dafm_core.fusion.best import Best
from dafm_core.fusion.channels import banked, tops
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.candidates import PlainOpener
from dafm_core.fusion.channels.compiled_rows import CompiledRows
from dafm_core.fusion.channels.families import FAMILIES
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.opening import CompiledOpener
from dafm_core.fusion.channels.tops import TwoStages
from dafm_core.fusion.channels.view import ChannelReader
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.ground.ordering import tie_places

ALL = tuple(FAMILIES)
N_GALLERY, N_ROWS = 60, 4
RANKS = np.repeat([name == "ranks" for name in ALL], 3)


def with_ties(tile):
    return np.where(np.isfinite(tile), np.round(tile), tile)


def two_levels(tile):
    return np.where(np.isfinite(tile), (tile > 0.5).astype(np.float32), tile)


def constant(tile):
    return np.where(np.isfinite(tile) & (np.arange(tile.shape[1]) == 1)[:, None], 0.5, tile)


def all_excluded(tile):
    return np.where(np.arange(len(tile))[:, None, None] == 0, -np.inf, tile)


def far_out(tile):
    tile = tile.copy()
    tile[:, 0, 5] = 1e6
    return tile


CHANGES = [np.copy, with_ties, two_levels, constant, all_excluded, far_out]


@pytest.fixture(scope="module")
def stack(make_problem):
    rng = np.random.default_rng(0)
    _, stack = make_problem(n_gallery=N_GALLERY)
    near = rng.integers(-1, N_GALLERY, (N_GALLERY, 5)).astype(np.int32)
    return replace(stack, gallery=replace(stack.gallery, neighbours={"model-1": near}))


@pytest.fixture(scope="module", params=[True, False], ids=["bank", "no bank"])
def reader(request, stack):
    bank = QueryBank.of(stack) if request.param else None
    return ChannelReader.of(stack.gallery, Layout(ALL, stack.names), bank)


@pytest.fixture(scope="module")
def fuser(stack):
    return LightFusion(n_seeds=1, n_epochs=1).fit(stack)


def first_of(evidence, n):
    """Choose as the module says, one model after the other."""
    chosen = set()
    for own in evidence:
        order = sorted((x for x in own if x > -np.inf), reverse=True)
        if order:
            bar = order[min(n, len(order)) - 1]
            reach = [i for i, x in enumerate(own) if x >= bar]
            if len(reach) > 2 * n:
                reach = [i for i in reach if own[i] > bar]
            chosen |= set(reach)
    return sorted(chosen)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("n_first", [8, N_GALLERY])
def test_what_any_model_puts_first_has_the_channels_it_has_among_all(
    reader, stack, change, n_first
):
    tile = change(stack.tile(0, N_ROWS)).astype(np.float32)
    whole = reader.read(tile)
    for b, found in enumerate(PlainOpener(reader)(tile, n_first)):
        columns = found.columns_in_gallery
        assert columns.tolist() == first_of(whole.evidence[b], n_first)
        np.testing.assert_array_equal(found.tile[0], tile[b][:, columns])
        np.testing.assert_allclose(found.context(), whole.context()[b : b + 1], atol=1e-6)
        made, expected = found.channels()[0], whole.channels()[b][:, columns]
        np.testing.assert_allclose(made[~RANKS], expected[~RANKS], atol=2e-5)
        if n_first == N_GALLERY:
            np.testing.assert_allclose(made[RANKS], expected[RANKS], atol=2e-5)


def test_the_loops_read_rows_to_the_same_bits(loops, stack):
    """Else equal scores come out unequal, or ranks hang on what has read them."""
    tile = np.random.default_rng(1).standard_normal((3, stack.n_providers, N_GALLERY))
    tile = (0.3 + 0.1 * tile).astype(np.float16).astype(np.float32)
    tile[1, :, 7] = -np.inf
    reader = ChannelReader.of(stack.gallery, Layout(ALL, stack.names), QueryBank.of(stack))
    view, ((_, found),) = reader.read(tile), CompiledRows(reader, loops).read(tile, 8)
    known = np.isfinite(tile)
    for made, plain in ((found.room.rows, view.rows), (found.room.evidence, view.evidence)):
        np.testing.assert_array_equal(made[known].view(np.int32), plain[known].view(np.int32))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("n_first", [8, N_GALLERY])
def test_the_loops_and_numpy_agree(loops, reader, stack, change, n_first):
    tile = change(stack.tile(0, 2)).astype(np.float32)
    pairs = zip(
        PlainOpener(reader)(tile, n_first),
        CompiledOpener(reader, loops)(tile, n_first),
        strict=True,
    )
    for plain, made in pairs:
        np.testing.assert_array_equal(made.columns_in_gallery, plain.columns_in_gallery)
        np.testing.assert_array_equal(made.tile, plain.tile)
        one, other = made.channels()[0], plain.channels()[0]
        np.testing.assert_allclose(one[~RANKS], other[~RANKS], rtol=1e-4, atol=2e-5)
        # Which bucket a score beyond the first is in may hang on its last bit, and then its rank.
        near = 2e-5 if n_first == N_GALLERY else 0.1
        np.testing.assert_allclose(one[RANKS], other[RANKS], atol=near)
        np.testing.assert_allclose(made.context(), plain.context(), atol=2e-5)


@pytest.mark.parametrize("change", CHANGES)
def test_with_as_many_first_as_candidates_the_list_is_that_of_whole_rows(fuser, stack, change):
    tile = change(stack.tile(0, N_ROWS)).astype(np.float32)
    reader, scorers = fuser.readied(stack.gallery, ("gallery",))
    exact = Best.of_scores(fuser.scorer(stack)(tile), tie_places(stack.gallery_ids), 12)
    for n_first in (N_GALLERY, 10 * N_GALLERY):
        cheap = fuser._cheap_scorer(reader)
        stages = TwoStages(reader, scorers["gallery"], cheap=cheap, loops=None)
        found = stages.best(tile, 12, n_first=n_first)
        np.testing.assert_allclose(found.scores, exact.scores, atol=2e-5)
        np.testing.assert_array_equal(found.columns, exact.columns)


def test_candidates_that_no_model_tells_apart_are_fused_all_the_same(fuser, stack):
    tile = np.zeros_like(stack.tile(0, 2))
    tile[:, :, 7] = -np.inf
    reader, scorers = fuser.readied(stack.gallery, ("gallery",))
    stages = TwoStages(reader, scorers["gallery"], cheap=None, loops=None)
    best = stages.best(tile, 12, n_first=3)
    exact = Best.of_scores(fuser.scorer(stack)(tile), tie_places(stack.gallery_ids), 12)
    np.testing.assert_array_equal(best.columns, exact.columns)


@pytest.mark.parametrize("exact", [True, False])
def test_a_list_is_as_long_as_the_gallery_at_most(fuser, stack, exact):
    best = fuser.best_scorer(stack, 10**12, exact=exact)(stack.tile(0, 1))
    assert best.columns.shape == (1, N_GALLERY)
    with pytest.raises(OptionError, match="expected k of at least 1, got 0"):
        fuser.best_scorer(stack, 0, exact=exact)


def test_few_candidates_leave_places_empty(fuser, stack):
    tile = np.full_like(stack.tile(0, 1), -np.inf)
    tile[:, :, [3, 9]] = [1.0, 2.0]
    best = fuser.best_scorer(stack, 5)(tile)
    assert sorted(best.columns[0, :2].tolist()) == [3, 9]
    assert (best.columns[0, 2:] == -1).all()
    assert np.isneginf(best.scores[0, 2:]).all()


def test_the_order_of_the_gallery_changes_no_list(fuser, stack, monkeypatch):
    monkeypatch.setattr(tops, "N_FIRST", 8)
    monkeypatch.setattr(tops, "FIRST_PER_PLACE", 2)
    order = np.random.default_rng(1).permutation(N_GALLERY)
    other = stack.take_gallery([stack.gallery_ids[i] for i in order])
    one, two = fuser.best(stack, 4), fuser.best(other, 4)
    np.testing.assert_array_equal(one.columns, order[two.columns])


def test_a_list_of_a_missing_provider_or_of_shortlists_is_that_of_whole_rows(
    fuser, stack, monkeypatch
):
    monkeypatch.setattr(banked, "WORTH_COMPILING", 1 << 60)
    fewer = stack.select(stack.names[:2])
    for some in (fewer, stack):
        exact = fuser.best(some, 6, exact=True)
        np.testing.assert_array_equal(fuser.best(some, 6).columns, exact.columns)
    within = fuser.best(stack, 3, head="subset")
    scores = fuser.scorer(stack, head="subset")(stack.tile(0, stack.n_queries))
    expected = Best.of_scores(scores, tie_places(stack.gallery_ids), 3)
    np.testing.assert_array_equal(within.columns, expected.columns)
