"""The search turned round: how many of a bank's queries score a candidate higher than this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.ordering import descending_keys, scores_of_keys

SMALLEST_GAP: Final = 1e-3
"""Difference of standardised scores below which two queries of the bank count as level."""
CELLS_AT_ONCE: Final = 1 << 16
COLUMNS_AT_ONCE: Final = 64
"""Candidates whose scores are sorted at a time: so many scores, and at least so many candidates;"""
QUERIES_AT_ONCE: Final = 256
"""and queries of which they are copied at a time, so that both sides of the copy are in the cache.
"""
LOWEST: Final = np.float32(-100)
"""Below any standardised score that occurs; stands for an excluded cell."""


@dataclass(frozen=True, eq=False)
class ReverseRanks:
    """For each candidate, the scores that a few ranks among the bank's queries have.

    A whole column of B scores would have to be kept to know every rank; ranks 1, 2, 3, 5, 8, ...
    are enough, since only the logarithm of the rank is used and it changes slowly between them.

    Parameters
    ----------
    ranks : ndarray of shape (T,), int64
        Ascending from 1 to B, about geometric.
    thresholds : ndarray of shape (T, K, N), float32
        Each column's ``ranks``-highest scores.
    """

    ranks: NDArray[np.int64]
    thresholds: NDArray[np.float32]

    @classmethod
    def of(cls, scores: NDArray[np.float32]) -> ReverseRanks:
        """Return the thresholds of a bank's row-standardised scores, (B, K, N)."""
        return cls.at(scores, geometric_ranks(len(scores)))

    @classmethod
    def at(cls, scores: NDArray[np.float32], ranks: NDArray[np.int64]) -> ReverseRanks:
        """Return the thresholds at some ranks."""
        made = cls(ranks, np.empty((len(ranks), *scores.shape[1:]), np.float32))
        for k, block, columns in _columns(scores):
            columns.sort(axis=1)
            made.thresholds[:, k, block] = columns[:, -ranks].T
        return made

    @classmethod
    def without_each(
        cls, scores: NDArray[np.float32], fold: NDArray[np.int64], folds: Sequence[int]
    ) -> list[ReverseRanks]:
        """Return the thresholds of all queries, then of those of all folds but each.

        A column is sorted once, with the fold that each score is of: what is left when a fold is
        taken out is in order already.

        Parameters
        ----------
        scores : ndarray of shape (B, K, N), float32
            Row-standardised.
        fold : ndarray of shape (B,), int64
            Of each query, from 0 to 2^32 - 1.
        folds : sequence of int
            Folds to do without; in no case is that every query.
        """
        kept = [int(np.count_nonzero(fold != left_out)) for left_out in folds]
        made = [
            cls(ranks, np.empty((len(ranks), *scores.shape[1:]), np.float32))
            for ranks in map(geometric_ranks, (len(scores), *kept))
        ]
        for k, block, columns in _columns(scores):
            keys = descending_keys(columns) | fold.astype(np.uint64)
            keys.sort(axis=1)
            of = keys.astype(np.uint32)  # the lower half of each
            parts = [keys[of != f].reshape(-1, n) for f, n in zip(folds, kept, strict=True)]
            for bank, own in zip(made, (keys, *parts), strict=True):
                bank.thresholds[:, k, block] = scores_of_keys(own[:, bank.ranks - 1]).T
        return made

    def take(self, providers: NDArray[np.int64], columns: NDArray[np.int64]) -> ReverseRanks:
        """Return the thresholds of some providers and candidates, in this order."""
        cells = np.ix_(np.arange(len(self.ranks)), providers, columns)
        return ReverseRanks(self.ranks, np.ascontiguousarray(self.thresholds[cells]))

    def log_ranks(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``log(B / (1 + n)) - 1`` for row-standardised scores (B', K, N).

        n of the B queries of the bank score the candidate higher. Between two ranks that are kept
        the logarithm is a straight line in the score, so that no step shows.

        Examples
        --------
        A bank of three queries whose scores of the only candidate are 2, 1 and 0: nobody is above
        a score of 2, two queries are above a score of 0, and 1.5 is half way between the first
        two ranks.

        >>> bank = np.array([2, 1, 0], np.float32).reshape(3, 1, 1)
        >>> scores = np.array([2, 1.5, 0], np.float32).reshape(3, 1, 1)
        >>> [round(float(r), 3) for r in ReverseRanks.of(bank).log_ranks(scores).ravel()]
        [0.099, -0.248, -1.0]
        >>> [round(float(np.log(3 / (1 + n)) - 1), 3) for n in (0, 2)]
        [0.099, -1.0]
        """
        levels = np.log(self.ranks).astype(np.float32)  # at the r-th highest score, r - 1 higher
        steps = np.diff(levels)
        thresholds = self.thresholds.reshape(len(levels), -1)  # (T, K N)
        slopes = 1 / np.maximum(thresholds[:-1] - thresholds[1:], SMALLEST_GAP)
        out = np.empty_like(rows)
        for row, ranked in zip(rows, out, strict=True):
            below = (thresholds[:-1] - np.maximum(row, LOWEST).ravel()) * slopes
            np.clip(below, 0, 1, out=below)  # how far from one kept rank to the next
            ranked[:] = levels[-1] - 1 - (steps @ below).reshape(row.shape)
        return out


def _columns(
    scores: NDArray[np.float32],
) -> Iterator[tuple[int, slice, NDArray[np.float32]]]:
    """Yield (provider, candidates, their scores (n, B)) for some candidates at a time.

    A query that excludes one, or did not ask, is below all. The array is written over.
    """
    n_queries, n_providers, n_gallery = scores.shape
    n_columns = min(n_gallery, max(COLUMNS_AT_ONCE, CELLS_AT_ONCE // n_queries))
    whole = np.empty((n_columns, n_queries), np.float32)
    for k in range(n_providers):
        for start in range(0, n_gallery, n_columns):
            block = slice(start, start + n_columns)
            columns = whole[: n_gallery - start]
            for first in range(0, n_queries, QUERIES_AT_ONCE):
                some = slice(first, first + QUERIES_AT_ONCE)
                columns[:, some] = scores[some, k, block].T
            np.fmax(columns, LOWEST, out=columns)
            yield k, block, columns


def geometric_ranks(n: int) -> NDArray[np.int64]:
    """Return ranks 1, 2, 3, 5, 8, ... up to n, each about 1.7 times the last.

    Examples
    --------
    >>> geometric_ranks(12).tolist()
    [1, 2, 3, 5, 8, 12]
    """
    return np.unique(np.round(1.7 ** np.arange(40)).clip(1, n).astype(np.int64))
