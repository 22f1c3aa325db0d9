"""The search turned round: thresholds against ranks that are counted."""

import numpy as np
import pytest

from dafm_core.fusion.channels.reverse_ranks import ReverseRanks, geometric_ranks
from dafm_core.ground.normalize import zscore_rows


@pytest.fixture
def scores(make_problem):
    _, stack = make_problem(n_queries=50)
    return zscore_rows(stack.tile(0, 50))


def test_log_ranks_count_the_queries_that_score_a_candidate_higher(scores):
    bank = ReverseRanks.of(scores[:30])
    higher = (scores[:30] > scores[40]).sum(axis=0)
    estimated = 30 / np.exp(1 + bank.log_ranks(scores[40:41])[0]) - 1
    inside = (higher > 0) & (higher < 29)
    assert (estimated[inside] >= higher[inside] / 1.8 - 1).all()
    assert (estimated[inside] <= higher[inside] * 1.8 + 1).all()
    np.testing.assert_allclose(estimated[higher == 0], 0, atol=1e-4)


def test_no_step_shows_between_the_ranks_that_are_kept(scores):
    bank = ReverseRanks.of(scores[:30])
    shifted = bank.log_ranks(scores[40:41] + np.float32(1e-6))
    np.testing.assert_allclose(shifted, bank.log_ranks(scores[40:41]), atol=1e-2)


def test_at_a_kept_rank_the_count_is_exact(scores):
    bank = ReverseRanks.of(scores[:30])
    for rank, threshold in zip(bank.ranks, bank.thresholds, strict=True):
        known = threshold > -100  # where fewer queries see the candidate, there is no such rank
        logs = bank.log_ranks(threshold[None])[0][known]
        np.testing.assert_allclose(logs, np.log(30 / rank) - 1, atol=1e-4)


def test_an_excluded_query_ranks_below_all_others(scores):
    hidden = scores[:30].copy()
    hidden[7] = -np.inf
    thresholds = ReverseRanks.of(hidden).thresholds
    others = np.delete(np.maximum(hidden, -100), 7, axis=0)
    np.testing.assert_array_equal(thresholds[0], others.max(axis=0))
    assert (thresholds[-1] < others.min(axis=0, where=others > -100, initial=0)).all()


def test_without_a_fold_the_thresholds_are_those_of_the_queries_that_are_left(scores, rng):
    scores = np.round(scores, 1)  # many are level
    scores[7] = -np.inf
    fold = rng.integers(0, 4, len(scores))
    whole, *others = ReverseRanks.without_each(scores, fold, [3, 0, 9])
    kept = [scores, scores[fold != 3], scores[fold != 0], scores]
    for bank, rows in zip((whole, *others), kept, strict=True):
        np.testing.assert_array_equal(bank.ranks, ReverseRanks.of(rows).ranks)
        np.testing.assert_array_equal(bank.thresholds, ReverseRanks.of(rows).thresholds)


@pytest.mark.parametrize("n", [1, 2, 3, 50, 100_000])
def test_kept_ranks_run_from_the_first_to_the_last_in_about_equal_ratios(n):
    ranks = geometric_ranks(n)
    assert (ranks[0], ranks[-1]) == (1, n)
    assert (np.diff(ranks) > 0).all()
    assert (ranks[1:] <= 2 * ranks[:-1]).all()
