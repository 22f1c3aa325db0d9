"""What queries have in common: the main directions in which a bank's rows differ."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.normalize import ColumnStatistics

N_TOPICS: Final = 32
"""Directions kept."""
N_ITERATIONS: Final = 4
"""Of the subspace iteration that finds them; the leading ones change no more."""


@dataclass(frozen=True, eq=False)
class Topics:
    """Orthonormal directions over the gallery, provider by provider.

    Parameters
    ----------
    directions : ndarray of shape (K, H, N), float32
    """

    directions: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        scores: NDArray[np.float32],
        statistics: ColumnStatistics,
        rows: NDArray[np.int64] | None = None,
    ) -> Topics:
        """Return the leading directions of a bank's column-standardised rows.

        By subspace iteration (Halko et al., SIAM Review 2011) from a random mixture of queries,
        not of candidates, so that the order of the gallery plays no part.

        Parameters
        ----------
        scores : ndarray of shape (B, K, N), float32
            Row-standardised.
        statistics : ColumnStatistics of shape (K, N)
        rows : ndarray of int64, optional
            Queries of the bank; all by default.
        """
        n_queries, n_providers, n_gallery = scores.shape
        n_queries = n_queries if rows is None else len(rows)
        width = min(N_TOPICS, n_queries, n_gallery)
        mixture = np.random.default_rng(0).normal(size=(n_queries, width)).astype(np.float32)
        topics = np.empty((n_providers, width, n_gallery), np.float32)
        for k in range(n_providers):
            own = scores[:, k] if rows is None else scores[rows, k]
            own = own - statistics.mean[k]
            own /= statistics.std[k]
            np.copyto(own, 0, where=~np.isfinite(own))
            directions = own.T @ mixture  # (N, H)
            for _ in range(N_ITERATIONS):
                directions = own.T @ (own @ np.linalg.qr(directions)[0])
            topics[k] = np.linalg.qr(directions)[0].T
        return cls(topics)

    @cached_property
    def sums(self) -> NDArray[np.float32]:
        """Sum over candidates of each direction, (K, H)."""
        sums: NDArray[np.float32] = self.directions.sum(axis=2)
        return sums

    @cached_property
    def products(self) -> NDArray[np.float32]:
        """Products of the directions with each other, (K, H, H): one where they are orthonormal."""
        products: NDArray[np.float32] = self.directions @ self.directions.transpose(0, 2, 1)
        return products

    def take(self, providers: NDArray[np.int64], columns: NDArray[np.int64]) -> Topics:
        """Return the directions of some providers, over some candidates, in this order."""
        return Topics(np.ascontiguousarray(self.directions[providers][:, :, columns]))

    def project(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return column-standardised rows (B, K, N) without what is theirs alone.

        Each row is projected on the directions: what remains is what it has in common with
        queries of the bank. Excluded cells stay -inf.
        """
        visible = np.isfinite(columns)
        filled = np.where(visible, columns, np.float32(0)).transpose(1, 0, 2)  # (K, B, N)
        shared: NDArray[np.float32] = (
            filled @ self.directions.transpose(0, 2, 1)
        ) @ self.directions
        return np.where(visible, shared.transpose(1, 0, 2), np.float32(-np.inf))
