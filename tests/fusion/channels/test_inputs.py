"""Channels: each family against its definition, and the laws that every family keeps."""

from dataclasses import replace

import numpy as np
import pytest
from dafm_core.fusion.channels.inputs import FAMILIES, Inputs, parse_families
from hypothesis import given, settings
from hypothesis import strategies as st

from dafm_core.errors import OptionError
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.ground.normalize import minmax_rows, rank_rows, zscore_rows
from dafm_core.store.stack import SimilarityStack

ALL = tuple(FAMILIES)


@pytest.fixture
def stack(make_problem, rng):
    _, stack = make_problem()
    near = np.stack([rng.permutation(stack.n_gallery)[:10] for _ in range(stack.n_gallery)])
    return replace(stack, neighbours={"model-1": near.astype(np.int32)})


def by_family(inputs, tile):
    channels = inputs.channels(tile)
    shape = (len(tile), len(inputs.families), len(inputs.names), tile.shape[2])
    return dict(zip(inputs.families, channels.reshape(shape).swapaxes(0, 1), strict=True))


def test_every_family_is_what_its_name_says(stack):
    bank, tile = QueryBank.of(stack), stack.tile(0, 7)
    made = by_family(Inputs.of(stack, ALL, bank), tile)
    kept = np.isfinite(tile)
    rows = zscore_rows(tile)
    columns = (rows - bank.statistics.mean) / bank.statistics.std
    evidence = zscore_rows(columns)
    near = stack.neighbours["model-1"][:, :8]
    expected = {
        "minmax": minmax_rows(tile),
        "rows": rows,
        "columns": columns,
        "restandardized": evidence,
        "reverse": bank.log_ranks(rows),
        "topics": zscore_rows(bank.topical(columns)),
        "neighbours": np.where(kept, evidence, 0)[:, :, near].mean(axis=3),
        "neighbour-rows": np.where(kept, rows, 0)[:, :, near].mean(axis=3),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(made[name], np.where(kept, values, 0), atol=1e-5, err_msg=name)
    ranks = rank_rows(evidence)
    b, k, one, two = 2, 1, *np.flatnonzero(kept[2, 1])[:2]
    gained = made["ranks"][b, k, one] - made["ranks"][b, k, two]
    assert gained == pytest.approx(np.log(ranks[b, k, two] / ranks[b, k, one]), abs=1e-4)


def test_without_a_bank_the_evidence_is_the_rows(stack):
    made = by_family(Inputs.of(stack, ALL, None), stack.tile(0, 5))
    np.testing.assert_allclose(made["restandardized"], made["rows"], atol=1e-5)


def test_without_neighbours_or_bank_their_channels_are_zero_and_said_to_be_missing(stack):
    bare = replace(stack, neighbours={})
    inputs = Inputs.of(bare, ("rows", "reverse", "neighbours"), None)
    assert inputs.available.tolist() == [True] * 3 + [False] * 6
    assert not by_family(inputs, bare.tile(0, 3))["neighbours"].any()


def test_a_missing_provider_is_zero_everywhere(stack):
    fewer = stack.select(["model-0", "model-2"])
    inputs = Inputs.of(fewer, ALL, QueryBank.of(stack), names=stack.names)
    whole = Inputs.of(stack, ALL, QueryBank.of(stack))
    assert inputs.available.reshape(len(ALL), 3).tolist() == [
        [True, False, True] if "neighbour" not in name else [False] * 3 for name in ALL
    ]
    made, expected = (by_family(i, s.tile(0, 3)) for i, s in ((inputs, fewer), (whole, stack)))
    for name in ALL[:-2]:
        np.testing.assert_allclose(made[name][:, [0, 2]], expected[name][:, [0, 2]], atol=1e-6)
        assert not made[name][:, 1].any()
    context = inputs.read(fewer.tile(0, 3)).context().reshape(3, 5, 3)
    assert not context[:, :, 1].any()
    assert context[:, :3, 0].all()


def test_a_silent_row_stays_silent_whatever_the_bank_says(stack):
    flat = np.zeros((stack.n_queries, stack.n_gallery), np.float32)
    matrices = {"flat": flat, "model-0": stack.matrices[0]}
    mixed = SimilarityStack.from_matrices(
        matrices,
        protocol=stack.protocol,
        query_ids=stack.query_ids,
        gallery_ids=stack.gallery_ids,
        excluded=stack.excluded,
    )
    bank = QueryBank.of(mixed)
    bank.statistics.mean[0] = np.linspace(-1, 1, stack.n_gallery)
    made = by_family(Inputs.of(mixed, ALL, bank), mixed.tile(0, 4))
    for name, values in made.items():
        np.testing.assert_allclose(values[:, 0], 0, atol=1e-6, err_msg=name)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), shift=st.integers(-5, 5), scale=st.sampled_from([0.25, 0.5, 8.0]))
def test_laws_of_permutation_shift_and_scale(seed, shift, scale):
    rng = np.random.default_rng(seed)
    n = 12
    ids = [f"img{j}" for j in range(n)]
    near = np.stack([rng.permutation(n)[:3] for _ in range(n)]).astype(np.int32)
    given_ = {"protocol": "p", "query_ids": [str(i) for i in range(6)], "gallery_ids": ids}
    scores = {k: rng.integers(0, 99, (6, n)).astype(np.float32) for k in "ab"}
    stack = SimilarityStack.from_matrices(scores, **given_, neighbours={"a": near})
    moved = {"a": scores["a"] * np.float32(scale) + np.float32(shift), "b": scores["b"]}
    other = SimilarityStack.from_matrices(moved, **given_, neighbours={"a": near})
    bank = QueryBank.of(stack)
    made = Inputs.of(stack, ALL, bank).channels(stack.tile(0, 6))
    same = Inputs.of(other, ALL, QueryBank.of(other)).channels(other.tile(0, 6))
    np.testing.assert_allclose(same, made, atol=2e-3)
    order = rng.permutation(n)
    shuffled = stack.take_gallery([ids[j] for j in order])
    permuted = Inputs.of(shuffled, ALL, bank).channels(shuffled.tile(0, 6))
    np.testing.assert_allclose(permuted, made[:, :, order], atol=1e-5)
    alone = Inputs.of(stack, ALL, bank).channels(stack.tile(3, 4))
    np.testing.assert_allclose(alone[0], made[3], atol=1e-6)


def test_one_candidate_gives_finite_channels():
    stack = SimilarityStack.from_matrices(
        {"a": [[1.0]]}, protocol="p", query_ids=["q"], gallery_ids=["i"]
    )
    inputs = Inputs.of(stack, ALL, QueryBank.of(stack))
    assert np.isfinite(inputs.channels(stack.tile(0, 1))).all()
    assert np.isfinite(inputs.read(stack.tile(0, 1)).context()).all()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("rows,colums", r"no input 'colums'; did you mean 'columns'\?"),
        (" , ", "at least one input"),
    ],
)
def test_unknown_or_no_inputs_are_refused(inputs, message):
    with pytest.raises(OptionError, match=message):
        parse_families(inputs, where="LightFusion")
    assert parse_families("ranks, rows", where="x") == ("rows", "ranks")
