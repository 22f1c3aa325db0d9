"""The best candidates of each query: what a list needs of a fusion, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.ordering import best_ranked


@dataclass(frozen=True, eq=False)
class Best:
    """The best candidates of some queries, best first, ties by a hash of the id.

    Parameters
    ----------
    columns : ndarray of shape (B, k), int64
        Where they stand in the gallery; -1 where there are fewer.
    scores : ndarray of shape (B, k), float32
        Fused; -inf where there are fewer.
    n_fused : ndarray of shape (B,), int64
        Among how many candidates they are the best.
    """

    columns: NDArray[np.int64]
    scores: NDArray[np.float32]
    n_fused: NDArray[np.int64]

    @classmethod
    def none(cls, n_rows: int, k: int) -> Best:
        """Return lists without a candidate yet."""
        shape = n_rows, k
        columns, scores = np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32)
        return cls(columns, scores, np.zeros(n_rows, np.int64))

    @classmethod
    def of_scores(cls, scores: NDArray[np.float32], places: NDArray[np.int64], k: int) -> Best:
        """Return the best of fused scores (B, N) that are not excluded.

        Parameters
        ----------
        places : ndarray of shape (N,)
            Of :func:`~dafm_core.ground.ordering.tie_places`.
        """
        found = cls.none(len(scores), k)
        for b, row in enumerate(scores):
            n_fused = int(np.count_nonzero(row > -np.inf))
            found.put(b, (order := best_ranked(row, places, k)), row[order], n_fused=n_fused)
        return found

    @classmethod
    def concatenate(cls, parts: Sequence[Best]) -> Best:
        """Return the lists of all parts, in order."""
        return cls(
            np.concatenate([part.columns for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.n_fused for part in parts]),
        )

    def put(
        self, b: int, columns: NDArray[np.int64], scores: NDArray[np.float32], *, n_fused: int
    ) -> None:
        """Write the list of one query, best first."""
        self.n_fused[b] = n_fused
        self.columns[b, : len(columns)] = columns
        self.scores[b, : len(columns)] = scores


BestScorer: TypeAlias = Callable[[NDArray[np.float32]], Best]
"""Fuses a tile ``(B, K, N)`` and gives each row's best candidates."""
