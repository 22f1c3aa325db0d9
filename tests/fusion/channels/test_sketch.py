"""A bank read a batch at a time: every query counts, and its first ranks are exact."""

import numpy as np
import pytest

from dafm_core.fusion.channels import bank as bank_module
from dafm_core.fusion.channels import sketch as sketch_module
from dafm_core.fusion.channels import sketch_loops
from dafm_core.fusion.channels.bank import BankQueries, QueryBank
from dafm_core.fusion.channels.reverse_ranks import ReverseRanks
from dafm_core.fusion.channels.sketch import ColumnSketch, SketchLoops, merged_ranks
from dafm_core.ground.normalize import zscore_rows


def in_batches(monkeypatch, stack, n):
    size = 4 * stack.n_providers * stack.n_gallery
    monkeypatch.setattr(bank_module, "MAX_BYTES", n * size)


@pytest.fixture(params=["numpy", "machine code", "python"])
def sketching(request):
    """The loops that sketch, or None for NumPy."""
    if request.param == "numpy":
        yield None
    elif request.param == "python":
        yield SketchLoops(
            sketch_loops.deal_rows, sketch_loops.sketch_columns, sketch_loops.merge_columns
        )
    else:
        numba = pytest.importorskip("numba", reason="Numba is the extra dafm-core[compiled]")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(numba.config, "DISABLE_JIT", 0)
            yield sketch_module.sketch_loops.__wrapped__()  # not the answer that is remembered


def made_of(rng, n_queries=900, n_gallery=21):
    """Return scores of ordinary columns, of one far above all others, one level, one unknown."""
    scores = rng.normal(size=(n_queries, 2, n_gallery)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.05] = -np.inf
    scores[:, 0, 3] += 20
    scores[:, 1, 4] = 1.25
    scores[:, 1, 5] = np.nan
    scores[:, 0, 6] -= 20
    return scores


def sketch_of(scores, n_mixtures, loops):
    if loops is None:
        return ColumnSketch.of_scores(scores, n_mixtures)

    def rows_of(k):
        return (scores[i : i + 22, k].copy() for i in range(0, len(scores), 22))

    return ColumnSketch.of_rows(scores.shape, rows_of, n_mixtures, loops)


def test_the_first_ranks_are_those_of_all_queries_and_the_others_are_near(
    rng, monkeypatch, sketching
):
    monkeypatch.setattr(sketch_module, "MERGE_CELLS", 1000)
    scores = made_of(rng)
    batches = np.array_split(scores, 4)
    parts = [sketch_of(part, 3, sketching) for part in batches]
    sets = np.array([[True] * 4, [True, False, True, True]])
    without_one = np.concatenate([batches[0], batches[2], batches[3]])
    for own, merged in zip(
        (scores, without_one), merged_ranks(parts, sets, sketching), strict=True
    ):
        exact = ReverseRanks.of(own)
        np.testing.assert_array_equal(merged.ranks, exact.ranks)
        first = exact.ranks <= sketch_module.N_EXACT
        np.testing.assert_array_equal(merged.thresholds[first], exact.thresholds[first])
        known = np.fmax(own, -100)
        for rank, threshold in zip(merged.ranks, merged.thresholds, strict=True):
            slack = 1 + 0.15 * rank
            n_above, n_as_high = (known > threshold).sum(axis=0), (known >= threshold).sum(axis=0)
            near = (n_above - slack <= rank) & (rank <= n_as_high + slack)
            assert near[:, [c for c in range(21) if c != 4]].all(), rank
        np.testing.assert_allclose(merged.thresholds[:, 1, 4], 1.25, atol=1 / 64)


@pytest.mark.parametrize("sketching", ["machine code", "python"], indirect=True)
def test_loops_sum_and_count_as_numpy_does(rng, sketching):
    scores = made_of(rng, 300)
    made, plain = (sketch_of(scores, 7, loops) for loops in (sketching, None))
    np.testing.assert_allclose(made.moments, plain.moments, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(made.mixtures.rows, plain.mixtures.rows, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(made.mixtures.signs, plain.mixtures.signs)


def test_every_query_counts_in_a_bank_that_does_not_fit(make_problem, monkeypatch):
    _, stack = make_problem()
    whole = QueryBank.of(stack)
    in_batches(monkeypatch, stack, 17)
    read = QueryBank.of(stack)
    np.testing.assert_allclose(read.statistics.mean, whole.statistics.mean, atol=1e-6)
    np.testing.assert_allclose(read.statistics.std, whole.statistics.std, atol=1e-6)
    np.testing.assert_array_equal(read.reverse_ranks.ranks, whole.reverse_ranks.ranks)
    first = whole.reverse_ranks.ranks <= sketch_module.N_EXACT
    np.testing.assert_array_equal(
        read.reverse_ranks.thresholds[first], whole.reverse_ranks.thresholds[first]
    )


def test_folds_leave_their_groups_out_of_a_bank_that_does_not_fit(make_problem, monkeypatch):
    _, stack = make_problem()
    in_batches(monkeypatch, stack, 17)
    for rows, made in BankQueries(stack, n_folds=3, seed=0).crossfitted():
        rest = np.setdiff1d(np.arange(stack.n_queries), rows)
        scores = np.concatenate([zscore_rows(tile) for _, tile in stack.tiles()])[rest]
        np.testing.assert_array_equal(
            made.reverse_ranks.thresholds[0], np.maximum(scores.max(axis=0), -100)
        )
        assert made.reverse_ranks.ranks[-1] == len(rest) == pytest.approx(40, abs=8)
