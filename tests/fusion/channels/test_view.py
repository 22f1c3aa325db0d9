"""Channels: each family against its definition, and the laws that every family keeps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.families import FAMILIES
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.view import ChannelReader, gallery_neighbours, usable_families
from dafm_core.ground.normalize import minmax_rows, rank_rows, zscore_rows
from dafm_core.store.stack import SimilarityStack

ALL = tuple(FAMILIES)


@pytest.fixture
def stack(make_problem, rng):
    _, stack = make_problem()
    near = np.stack([rng.permutation(stack.n_gallery)[:10] for _ in range(stack.n_gallery)])
    return with_neighbours(stack, {"model-1": near.astype(np.int32)})


def with_neighbours(stack, neighbours):
    return replace(stack, gallery=replace(stack.gallery, neighbours=neighbours))


def reader_of(stack, bank, families=ALL, providers=None):
    return ChannelReader.of(stack.gallery, Layout(families, providers or stack.names), bank)


def by_family(reader, tile):
    channels = reader.read(tile).channels()
    families, providers = reader.layout.families, reader.layout.providers
    shape = (len(tile), len(families), len(providers), tile.shape[2])
    return dict(zip(families, channels.reshape(shape).swapaxes(0, 1), strict=True))


def test_every_family_is_what_its_name_says(stack):
    bank, tile = QueryBank.of(stack), stack.tile(0, 7)
    made = by_family(reader_of(stack, bank), tile)
    kept = np.isfinite(tile)
    rows = zscore_rows(tile)
    columns = (rows - bank.statistics.mean) / bank.statistics.std
    evidence = zscore_rows(columns)
    near = stack.gallery.neighbours["model-1"][:, :8]
    expected = {
        "minmax": minmax_rows(tile),
        "rows": rows,
        "columns": columns,
        "restandardized": evidence,
        "reverse": bank.reverse_ranks.log_ranks(rows),
        "topics": zscore_rows(bank.topics.project(columns)),
        "neighbours": np.where(kept, evidence, 0)[:, :, near].mean(axis=3),
        "neighbour-rows": np.where(kept, rows, 0)[:, :, near].mean(axis=3),
    }
    assert made.keys() == expected.keys() | {"ranks"}
    for name, values in expected.items():
        np.testing.assert_allclose(made[name], np.where(kept, values, 0), atol=1e-5, err_msg=name)
    ranks = rank_rows(evidence)
    b, k, one, two = 2, 1, *np.flatnonzero(kept[2, 1])[:2]
    gained = made["ranks"][b, k, one] - made["ranks"][b, k, two]
    assert gained == pytest.approx(np.log(ranks[b, k, two] / ranks[b, k, one]), abs=1e-4)


def test_context_is_the_shape_of_each_row(stack):
    tile = stack.tile(0, 5)
    context = reader_of(stack, None).read(tile).context().reshape(5, 5, 3)
    for b, query in enumerate(zscore_rows(tile)):
        for k, row in enumerate(query):
            seen = row[np.isfinite(row)]
            top = np.sort(np.append(seen, np.full(len(row) - len(seen), seen.min())))[::-1]
            chance = np.exp(np.where(np.isfinite(row), row, seen.min()))
            chance /= chance.sum()
            shape = [top[0], top[0] - top[1], top[0] - top[9], top[9] - top[-1]]
            expected = [*shape, -(chance * np.log(chance)).sum()]
            np.testing.assert_allclose(context[b, :, k], expected, rtol=1e-4)


def test_without_a_bank_the_evidence_is_the_rows(stack):
    made = by_family(reader_of(stack, None), stack.tile(0, 5))
    np.testing.assert_allclose(made["restandardized"], made["rows"], atol=1e-5)


def test_without_neighbours_or_bank_their_channels_are_zero_and_said_to_be_missing(stack):
    bare = with_neighbours(stack, {})
    reader = reader_of(bare, None, ("rows", "reverse", "neighbours"))
    assert reader.available.tolist() == [True] * 3 + [False] * 6
    made = by_family(reader, bare.tile(0, 3))
    assert made["rows"].any()
    assert not made["reverse"].any()
    assert not made["neighbours"].any()


def test_neighbours_of_several_providers_are_pooled_and_absent_ones_stand_for_none(stack):
    near = stack.gallery.neighbours["model-1"]
    less = np.where(near == near[0, 0], -1, near).astype(np.int32)
    pooled = gallery_neighbours(with_neighbours(stack, {"model-1": near, "model-2": less}).gallery)
    expected = np.concatenate([near[:, :8], less[:, :8]], axis=1)
    np.testing.assert_array_equal(pooled.T, np.where(expected < 0, stack.n_gallery, expected))
    assert gallery_neighbours(with_neighbours(stack, {}).gallery) is None


def test_families_that_need_neighbours_are_left_out_where_there_are_none(stack):
    assert usable_families(stack.gallery, ALL) == ALL
    assert usable_families(with_neighbours(stack, {}).gallery, ALL) == ALL[:-2]
    assert usable_families(with_neighbours(stack, {}).gallery, ("neighbours",)) == ()


def test_a_missing_provider_is_zero_everywhere(stack):
    fewer = stack.select(["model-0", "model-2"])
    reader = reader_of(fewer, QueryBank.of(stack), providers=stack.names)
    whole = reader_of(stack, QueryBank.of(stack))
    assert reader.present_mask.tolist() == [True, False, True]
    assert reader.available.reshape(len(ALL), 3).tolist() == [
        [True, False, True] if "neighbour" not in name else [False] * 3 for name in ALL
    ]
    made, expected = (by_family(r, s.tile(0, 3)) for r, s in ((reader, fewer), (whole, stack)))
    for name in ALL[:-2]:
        np.testing.assert_allclose(made[name][:, [0, 2]], expected[name][:, [0, 2]], atol=1e-6)
        assert not made[name][:, 1].any()
    context = reader.read(fewer.tile(0, 3)).context().reshape(3, 5, 3)
    assert not context[:, :, 1].any()
    assert context[:, :3, 0].all()


def test_a_silent_row_stays_silent_whatever_the_bank_says(stack):
    matrices = {"flat": np.zeros_like(stack.matrices[0]), "model-0": stack.matrices[0]}
    mixed = SimilarityStack.from_matrices(matrices, stack.dataset)
    bank = QueryBank.of(mixed)
    bank.statistics.mean[0] = np.linspace(-1, 1, stack.n_gallery)
    made = by_family(reader_of(mixed, bank), mixed.tile(0, 4))
    for name, values in made.items():
        np.testing.assert_allclose(values[:, 0], 0, atol=1e-6, err_msg=name)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), shift=st.integers(-5, 5), scale=st.sampled_from([0.25, 0.5, 8.0]))
def test_laws_of_permutation_shift_and_scale(seed, shift, scale):
    rng = np.random.default_rng(seed)
    n = 12
    near = np.stack([rng.permutation(n)[:3] for _ in range(n)]).astype(np.int32)
    scores = {k: rng.integers(0, 99, (6, n)).astype(np.float32) for k in "ab"}
    moved = {"a": scores["a"] * np.float32(scale) + np.float32(shift), "b": scores["b"]}
    dataset = plain_dataset(n_queries=6, n_gallery=n)
    stack, other = (
        SimilarityStack.from_matrices(m, dataset, neighbours={"a": near}) for m in (scores, moved)
    )
    bank = QueryBank.of(stack)
    made = reader_of(stack, bank).read(stack.tile(0, 6)).channels()
    same = reader_of(other, QueryBank.of(other)).read(other.tile(0, 6)).channels()
    np.testing.assert_allclose(same, made, atol=2e-3)
    order = rng.permutation(n)
    shuffled = stack.take_gallery([stack.gallery_ids[j] for j in order])
    permuted = reader_of(shuffled, bank).read(shuffled.tile(0, 6)).channels()
    np.testing.assert_allclose(permuted, made[:, :, order], atol=1e-5)
    alone = reader_of(stack, bank).read(stack.tile(3, 4)).channels()
    np.testing.assert_allclose(alone[0], made[3], atol=1e-6)


def test_one_candidate_gives_finite_channels():
    dataset = plain_dataset(n_queries=1, n_gallery=1)
    stack = SimilarityStack.from_matrices({"a": [[1.0]]}, dataset)
    view = reader_of(stack, QueryBank.of(stack)).read(stack.tile(0, 1))
    assert np.isfinite(view.channels()).all()
    assert np.isfinite(view.context()).all()


def plain_dataset(*, n_queries, n_gallery):
    """Return queries without targets or exclusions."""
    gallery = [f"img{j}" for j in range(n_gallery)]
    rows = [{"query_id": f"q{i}", "reference": "img0", "text": ""} for i in range(n_queries)]
    return Dataset(protocol="p", gallery_ids=gallery, queries=query_frame(rows, where="p"))
