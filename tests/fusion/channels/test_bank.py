"""Query banks: statistics by hand, alignment by id, and folds that leave a query's group out."""

import numpy as np
import pytest

import dafm_core.fusion.channels.bank as bank_module
from dafm_core.errors import AlignmentError
from dafm_core.fusion.channels.bank import (
    QueryBank,
    bank_from_state,
    bank_state,
    crossfitted_banks,
    draw_folds,
)
from dafm_core.ground.normalize import zscore_rows


def test_statistics_are_those_of_the_standardised_columns(make_problem):
    _, stack = make_problem(n_queries=2000)
    scores = zscore_rows(stack.tile(0, 2000))
    scores[~np.isfinite(scores)] = np.nan
    bank = QueryBank.of(stack)
    np.testing.assert_allclose(bank.statistics.mean, np.nanmean(scores, axis=0), atol=0.01)
    np.testing.assert_allclose(bank.statistics.std, np.nanstd(scores, axis=0), rtol=0.02)


def test_a_small_bank_stays_near_the_scores_as_they_are(make_problem):
    _, stack = make_problem(n_queries=3)
    bank = QueryBank.of(stack)
    assert np.abs(bank.statistics.mean).max() < 0.6
    assert bank.statistics.std.min() > 0.7


def test_it_aligns_by_provider_and_gallery_id(make_problem, rng):
    _, stack = make_problem()
    order = rng.permutation(stack.n_gallery)
    other = stack.take_gallery([stack.gallery_ids[j] for j in order]).select(["model-2", "model-0"])
    whole, aligned = QueryBank.of(stack), QueryBank.of(stack).aligned(other)
    assert aligned.gallery_ids == other.gallery_ids
    cells = np.ix_([0, 2], order)
    np.testing.assert_array_equal(aligned.statistics.mean, whole.statistics.mean[cells])
    np.testing.assert_array_equal(aligned.statistics.std, whole.statistics.std[cells])
    np.testing.assert_array_equal(aligned.thresholds, whole.thresholds[:, [0, 2]][:, :, order])
    np.testing.assert_array_equal(aligned.topics, whole.topics[[0, 2]][:, :, order])


def test_a_bank_that_lacks_a_provider_or_a_candidate_says_which(make_problem):
    _, stack = make_problem()
    with pytest.raises(AlignmentError, match=r"bank: expected providers .*Score model-1"):
        QueryBank.of(stack.select(["model-0", "model-2"])).aligned(stack)
    with pytest.raises(AlignmentError, match=r"no scores of gallery image 'img39' \(1 are missing"):
        QueryBank.of(stack.take_gallery(stack.gallery_ids[:-1])).aligned(stack)


def test_crossfitted_banks_hold_all_queries_of_other_groups(make_problem):
    dataset, stack = make_problem()
    seen = []
    for rows, bank in crossfitted_banks(stack, dataset.groups, n_folds=3, seed=0):
        others = np.setdiff1d(np.arange(stack.n_queries), rows)
        assert not set(dataset.groups[rows]) & set(dataset.groups[others])
        expected = QueryBank.of(stack.take_queries([stack.query_ids[i] for i in others]))
        np.testing.assert_allclose(bank.statistics.mean, expected.statistics.mean, atol=1e-5)
        np.testing.assert_allclose(bank.statistics.std, expected.statistics.std, atol=1e-5)
        seen.extend(rows)
    assert sorted(seen) == list(range(stack.n_queries))


def test_folds_keep_groups_whole_and_about_even():
    groups = np.repeat(np.arange(25), 4).astype(str)
    fold = draw_folds(groups, 5, seed=0)
    assert all(len(set(fold[groups == g])) == 1 for g in set(groups))
    assert np.bincount(fold).tolist() == [20] * 5
    assert set(draw_folds(["a", "a"], 5, seed=0)) == {0}


def test_state_restores_a_bank(make_problem):
    bank = QueryBank.of(make_problem()[1])
    again = bank_from_state(*bank_state(bank))
    assert (again.names, again.gallery_ids) == (bank.names, bank.gallery_ids)
    np.testing.assert_array_equal(again.statistics.std, bank.statistics.std)
    np.testing.assert_array_equal(again.thresholds, bank.thresholds)
    np.testing.assert_array_equal(again.topics, bank.topics)


def test_log_ranks_count_the_queries_that_score_a_candidate_higher(make_problem):
    _, stack = make_problem(n_queries=50)
    bank = QueryBank.of(stack.take_queries(stack.query_ids[:30]))
    scores = zscore_rows(stack.tile(0, 50))
    higher = (scores[:30] > scores[40]).sum(axis=0)
    found = 30 / np.exp(1 + bank.log_ranks(scores[40:41])[0]) - 1
    inside = (higher > 0) & (higher < 29)
    assert (found[inside] >= higher[inside] / 1.8 - 1).all()
    assert (found[inside] <= higher[inside] * 1.8 + 1).all()
    np.testing.assert_allclose(found[higher == 0], 0, atol=1e-4)
    shifted = bank.log_ranks(scores[40:41] + np.float32(1e-6))
    np.testing.assert_allclose(shifted, bank.log_ranks(scores[40:41]), atol=1e-2)


def columns_of(stack, bank):
    rows = zscore_rows(stack.tile(0, stack.n_queries))
    return np.where(np.isfinite(rows), (rows - bank.statistics.mean) / bank.statistics.std, 0)


def test_topics_are_the_leading_singular_vectors_of_the_columns(make_problem, monkeypatch):
    monkeypatch.setattr(bank_module, "N_TOPICS", 3)
    _, stack = make_problem(n_queries=60)
    ramp = np.linspace(-1, 1, stack.n_gallery, dtype=np.float32)
    waves = np.stack([np.sin(5 * ramp), np.cos(9 * ramp), ramp**2])
    mixture = np.random.default_rng(0).normal(size=(60, 3)) @ np.diag([9.0, 6.0, 4.0])
    for matrix in stack.matrices:
        matrix += (mixture @ waves).astype(np.float32)
    bank = QueryBank.of(stack)
    for k in range(stack.n_providers):
        leading = np.linalg.svd(columns_of(stack, bank)[:, k], full_matrices=False)[2][:3]
        cosines = np.linalg.svd(leading @ bank.topics[k].T, compute_uv=False)
        np.testing.assert_allclose(cosines, 1, atol=1e-3)


def test_what_is_topical_is_a_projection_and_leaves_excluded_cells_out(make_problem):
    _, stack = make_problem(n_queries=100)
    bank = QueryBank.of(stack.take_queries(stack.query_ids[:90]))
    columns = columns_of(stack, bank)
    columns[~np.isfinite(stack.tile(0, 100))] = -np.inf
    once = bank.topical(columns[90:])
    kept = np.isfinite(columns[90:])
    assert np.isneginf(once[~kept]).all()
    filled = np.where(kept, columns[90:], 0)
    full = bank.topical(filled)
    np.testing.assert_allclose(full[kept], once[kept], atol=1e-5)
    np.testing.assert_allclose(bank.topical(full), full, atol=1e-4)
    left = filled - full
    np.testing.assert_allclose(np.einsum("bkn,khn->bkh", left, bank.topics), 0, atol=1e-3)


def test_a_bank_of_few_queries_has_as_many_topics(make_problem):
    _, stack = make_problem(n_queries=5)
    bank = QueryBank.of(stack)
    assert bank.topics.shape == (stack.n_providers, 5, stack.n_gallery)
    assert np.isfinite(bank.topics).all()
