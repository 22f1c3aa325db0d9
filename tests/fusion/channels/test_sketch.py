"""A bank read a batch at a time: every query counts, and its first ranks are exact."""

import numpy as np
import pytest

from dafm_core.fusion.channels import bank as bank_module
from dafm_core.fusion.channels import sketch as sketch_module
from dafm_core.fusion.channels.bank import BankQueries, QueryBank
from dafm_core.fusion.channels.reverse_ranks import ReverseRanks
from dafm_core.fusion.channels.sketch import ColumnSketch, merged_ranks
from dafm_core.ground.normalize import zscore_rows


def in_batches(monkeypatch, stack, n):
    size = 4 * stack.n_providers * stack.n_gallery
    monkeypatch.setattr(bank_module, "MAX_BYTES", n * size)


def test_the_first_ranks_are_those_of_all_queries_and_the_others_are_near(rng, monkeypatch):
    monkeypatch.setattr(sketch_module, "MERGE_CELLS", 1000)
    scores = rng.normal(size=(900, 2, 9)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.05] = -np.inf
    parts = [ColumnSketch.of_scores(part, 3) for part in np.array_split(scores, 4)]
    exact, merged = ReverseRanks.of(scores), merged_ranks(parts)
    np.testing.assert_array_equal(merged.ranks, exact.ranks)
    first = exact.ranks <= sketch_module.N_EXACT
    np.testing.assert_array_equal(merged.thresholds[first], exact.thresholds[first])
    for rank, threshold in zip(merged.ranks, merged.thresholds, strict=True):
        n_as_high = (np.maximum(scores, -100) >= threshold).sum(axis=0)
        level = threshold == -100  # excluded by so many that all of those are level
        assert (level | (abs(n_as_high - rank) <= 1 + 0.15 * rank)).all(), rank


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
