"""Counts against a naive loop, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.errors import AlignmentError, DatasetError, SimilarityError
from dafm_core.ground.ragged import Ragged
from dafm_core.metrics.ranking import TargetRanks, rank_targets


@st.composite
def rankings(draw, max_gallery=7):
    """A few tied rows with -inf cells, and one to three targets each."""
    n_queries, n_gallery = draw(st.integers(1, 4)), draw(st.integers(3, max_gallery))
    levels = st.sampled_from([-0.2, -0.1, 0.0, 0.5, -np.inf])
    scores = np.array(
        draw(st.lists(levels, min_size=n_queries * n_gallery, max_size=n_queries * n_gallery))
    )
    columns = st.lists(st.integers(0, n_gallery - 1), min_size=1, max_size=3, unique=True)
    targets = Ragged.from_rows([draw(columns) for _ in range(n_queries)])
    return scores.reshape(n_queries, n_gallery), targets


@given(rankings())
def test_counts_equal_a_naive_loop(ranking):
    scores, targets = ranking
    ranks = rank_targets(scores, targets)
    expected = []
    for row, columns in enumerate(targets):
        for column in columns:
            own = scores[row, column]
            if np.isneginf(own):
                continue
            among = scores[row, columns]
            expected.append(
                (
                    row,
                    sum(scores[row] > own),
                    sum(scores[row] == own),
                    sum(among > own),
                    sum(among == own),
                )
            )
    got = zip(
        ranks.rows,
        ranks.greater,
        ranks.tied,
        ranks.targets_greater,
        ranks.targets_tied,
        strict=True,
    )
    assert [tuple(map(int, entry)) for entry in got] == [tuple(map(int, e)) for e in expected]
    assert ranks.n_targets.tolist() == targets.counts.tolist()


@given(rankings())
def test_tiles_concatenate_to_the_whole(ranking):
    scores, targets = ranking
    whole = rank_targets(scores, targets)
    parts = [rank_targets(scores[i : i + 1], targets.take([i])) for i in range(len(scores))]
    joined = TargetRanks.concatenate(parts)
    for name in ("rows", "greater", "tied", "targets_greater", "targets_tied", "n_targets"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


def test_within_ranks_the_subset_only(rng):
    scores = rng.normal(size=(20, 30))
    subsets = Ragged.from_rows([rng.choice(30, 5, replace=False) for _ in range(20)])
    targets = Ragged.from_rows([row[:1] for row in subsets])
    ranks = rank_targets(scores, targets, within=subsets)
    expected = [sum(scores[i, s] > scores[i, s[0]]) for i, s in enumerate(subsets)]
    assert ranks.greater.tolist() == expected


def test_subsets_of_different_length_and_excluded_members():
    scores = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, -np.inf, 0.2, 0.1]])
    within = Ragged.from_rows([[0, 1], [1, 2, 3]])
    ranks = rank_targets(scores, Ragged.from_rows([[0], [3]]), within=within)
    assert ranks.greater.tolist() == [1, 1]
    assert ranks.tied.tolist() == [1, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(value):
    scores = np.zeros((3, 4))
    scores[1, 2] = value
    with pytest.raises(SimilarityError, match="in row 1"):
        rank_targets(scores, Ragged.from_rows([[0]] * 3))


def test_a_query_without_target_is_refused():
    with pytest.raises(DatasetError, match="row 1 has no target"):
        rank_targets(np.zeros((2, 3)), Ragged.from_rows([[0], []]))


def test_a_target_outside_its_subset_is_refused():
    with pytest.raises(AlignmentError, match="subset"):
        rank_targets(np.eye(3), Ragged.from_rows([[0]] * 3), within=Ragged.from_rows([[1, 2]] * 3))


def test_rows_and_targets_must_agree():
    with pytest.raises(AlignmentError, match="3 queries, got 2"):
        rank_targets(np.zeros((3, 3)), Ragged.from_rows([[0], [1]]))


def test_half_precision_is_counted_as_single_is(rng):
    scores = np.round(rng.normal(size=(40, 30)), 1).astype(np.float16)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    scores[:, 3] = np.where(rng.random(40) < 0.5, 0.0, -0.0)
    targets = Ragged.from_rows([rng.choice(30, 2, replace=False) for _ in range(40)])
    within = Ragged.from_rows([np.union1d(row, [3, 7, 9]) for row in targets])
    for pool in (None, within):
        one, other = (
            rank_targets(s, targets, within=pool) for s in (scores, scores.astype(np.float32))
        )
        for name in ("rows", "greater", "tied", "targets_greater", "targets_tied"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for odd in (np.nan, np.inf, -np.float16(np.nan)):
        scores[5, 5] = odd
        with pytest.raises(SimilarityError, match="in row 5"):
            rank_targets(scores, targets)
