"""Main directions of a bank: against singular vectors, and the laws of a projection."""

import numpy as np
import pytest

import dafm_core.fusion.channels.topics as topics_module
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.topics import Mixtures, Topics
from dafm_core.ground.normalize import ColumnStatistics, zscore_rows


def columns_of(stack, bank):
    """Return column-standardised rows, (B, K, N), 0 where excluded."""
    rows = zscore_rows(stack.tile(0, stack.n_queries))
    return np.where(np.isfinite(rows), (rows - bank.statistics.mean) / bank.statistics.std, 0)


def test_they_are_the_leading_singular_vectors_of_the_columns(make_problem, monkeypatch):
    monkeypatch.setattr(topics_module, "N_TOPICS", 3)
    _, stack = make_problem(n_queries=60)
    ramp = np.linspace(-1, 1, stack.n_gallery, dtype=np.float32)
    waves = np.stack([np.sin(5 * ramp), np.cos(9 * ramp), ramp**2])
    mixture = np.random.default_rng(0).normal(size=(60, 3)) @ np.diag([9.0, 6.0, 4.0])
    for matrix in stack.matrices:
        matrix += (mixture @ waves).astype(np.float32)
    bank = QueryBank.of(stack)
    for k in range(stack.n_providers):
        leading = np.linalg.svd(columns_of(stack, bank)[:, k], full_matrices=False)[2][:3]
        cosines = np.linalg.svd(leading @ bank.topics.directions[k].T, compute_uv=False)
        np.testing.assert_allclose(cosines, 1, atol=1e-3)


def test_they_project_and_leave_excluded_cells_out(make_problem):
    _, stack = make_problem(n_queries=100)
    bank = QueryBank.of(stack.take_queries(stack.query_ids[:90]))
    columns = columns_of(stack, bank)
    columns[~np.isfinite(stack.tile(0, 100))] = -np.inf
    once = bank.topics.project(columns[90:])
    kept = np.isfinite(columns[90:])
    assert np.isneginf(once[~kept]).all()
    filled = np.where(kept, columns[90:], 0)
    full = bank.topics.project(filled)
    np.testing.assert_allclose(full[kept], once[kept], atol=1e-5)
    np.testing.assert_allclose(bank.topics.project(full), full, atol=1e-4)
    left = filled - full
    across = np.einsum("bkn,khn->bkh", left, bank.topics.directions)
    np.testing.assert_allclose(across, 0, atol=1e-3)


@pytest.mark.parametrize(("n_queries", "n_gallery"), [(5, 40), (60, 7), (60, 40)])
def test_there_are_no_more_than_queries_or_candidates(make_problem, n_queries, n_gallery):
    _, stack = make_problem(n_queries=n_queries, n_gallery=n_gallery)
    directions = QueryBank.of(stack).topics.directions
    width = min(topics_module.N_TOPICS, n_queries, n_gallery)
    assert directions.shape == (stack.n_providers, width, n_gallery)
    for k in range(stack.n_providers):
        np.testing.assert_allclose(directions[k] @ directions[k].T, np.eye(width), atol=1e-4)


def planted(rng, n_queries, n_gallery=80):
    """Return scores (B, 2, N) of three shared directions and noise, and their columns' moments."""
    ramp = np.linspace(-1, 1, n_gallery)
    waves = np.stack([np.sin(5 * ramp), np.cos(9 * ramp), ramp**2])
    common = rng.normal(size=(n_queries, 2, 3)) @ np.diag([9.0, 6.0, 4.0]) @ waves
    scores = (common + rng.normal(size=common.shape) + 5 * ramp).astype(np.float32)
    return scores, ColumnStatistics(scores.mean(axis=0), scores.std(axis=0))


def alike(one, two):
    """Return the least cosine between the subspaces of two banks' topics, over providers."""
    return min(
        np.linalg.svd(a @ b.T, compute_uv=False).min()
        for a, b in zip(one.directions, two.directions, strict=True)
    )


def test_sums_of_one_query_each_have_the_topics_of_the_queries(rng, monkeypatch):
    monkeypatch.setattr(topics_module, "N_TOPICS", 3)
    scores, statistics = planted(rng, 60)
    mixtures = [Mixtures.of(scores[:25], 40), Mixtures.of(scores[25:], 35)]
    assert [len(some.rows) for some in mixtures] == [25, 35]
    made = Topics.of_mixtures(mixtures, statistics)
    assert alike(made, Topics.of(scores, statistics)) > 1 - 1e-4


def test_sums_of_many_queries_have_nearly_their_topics(rng, monkeypatch):
    monkeypatch.setattr(topics_module, "N_TOPICS", 3)
    scores, statistics = planted(rng, 3000)
    mixtures = [Mixtures.of(part, 50) for part in np.split(scores, 2)]
    made = Topics.of_mixtures(mixtures, statistics)
    assert alike(made, Topics.of(scores, statistics)) > 0.99


def test_every_query_is_in_one_sum_and_its_excluded_cells_are_column_means(rng):
    scores = rng.normal(size=(7, 2, 5)).astype(np.float32)
    scores[3, :, 1] = scores[4, 0, 2] = -np.inf
    seen = np.isfinite(scores)
    mean = np.where(seen, scores, 0).sum(axis=0) / seen.sum(axis=0)
    rows, signs = Mixtures.of(scores, 3)
    filled = np.where(seen, scores, mean)
    possible = np.array(np.meshgrid(*[[-1, 1]] * 7)).reshape(7, -1).T  # every draw of signs
    sums = np.einsum("sq,qkn->skn", possible, filled)
    found = np.abs(sums - rows.sum(axis=0)).max(axis=(1, 2))
    assert found.min() < 1e-5
    assert possible[found.argmin()].sum() == signs.sum()


@pytest.mark.parametrize("apart", [1, 1e-2, 1e-5, 0])
def test_directions_nearly_the_same_become_orthonormal_too(rng, apart):
    directions = rng.normal(size=(300, 4)).astype(np.float32)
    directions[:, 3] = directions[:, 0] + apart * directions[:, 3]
    n = len(directions)
    same, blocks = np.eye(n, dtype=np.float32), [slice(0, n // 3), slice(n // 3, n)]
    orthonormal = topics_module._orthonormal(same, directions, np.empty_like(directions), blocks)
    made = np.concatenate([orthonormal(block) for block in blocks])
    np.testing.assert_allclose(made.T @ made, np.eye(4), atol=1e-6)
    left = directions - made @ (made.T @ directions)
    assert np.abs(left).max() < 1e-5


def test_candidates_worked_on_some_at_a_time_have_the_same_directions(rng, monkeypatch):
    own = rng.normal(size=(50, 90)).astype(np.float32)
    whole = topics_module._leading(own)
    monkeypatch.setattr(topics_module, "AT_ONCE", 32)
    np.testing.assert_allclose(topics_module._leading(own), whole, atol=2e-5)
