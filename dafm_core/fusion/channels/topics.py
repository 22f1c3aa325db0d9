"""What queries have in common: the main directions in which a bank's rows differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.normalize import ColumnStatistics
from dafm_core.ground.room import ONE_OF_MANY, empty

N_TOPICS: Final = 32
"""Directions kept."""
N_ITERATIONS: Final = 4
"""Of the subspace iteration that finds them; the leading ones change no more."""
SMALLEST_EDGE: Final = 1e-4
"""How far a direction stands out of the others, relative to the longest: products hold it well."""

AT_ONCE: Final = 4096
"""Candidates whose directions are worked on at a time, so that they stay in the cache."""


class Mixtures(NamedTuple):
    """Sums of a bank's queries, each query in one of them and with a random sign.

    ``rows`` (M, K, N) are of row-standardised scores, ``signs`` (M,) of the signs themselves.
    """

    rows: NDArray[np.float32]
    signs: NDArray[np.float32]

    @classmethod
    def of(cls, scores: NDArray[np.float32], n_rows: int) -> Mixtures:
        """Return so many sums of row-standardised scores, (B, K, N); at most as many as queries.

        What is excluded counts as the mean of its column here.
        """
        made, place, signs = cls.begun(scores.shape, n_rows)
        mean = None
        for query, (row, sign) in enumerate(zip(place, signs, strict=True)):
            own = scores[query]
            if not np.isfinite(own).all():
                if mean is None:
                    mean = _visible_mean(scores)
                own = np.where(np.isfinite(own), own, mean)
            (np.add if sign > 0 else np.subtract)(made.rows[row], own, out=made.rows[row])
        return made

    @classmethod
    def begun(
        cls, shape: tuple[int, ...], n_rows: int
    ) -> tuple[Mixtures, NDArray[np.int64], NDArray[np.float32]]:
        """Return sums of nothing so far, and which sum each query belongs to, and with which sign.

        Parameters
        ----------
        shape : (B, K, N)
            Of the scores that are to be added.
        n_rows : int
            Sums, at most as many as queries.
        """
        n_queries, n_providers, n_gallery = shape
        n_rows = min(n_rows, n_queries)
        sums = empty((n_rows, n_providers, n_gallery), np.float32, in_memory=ONE_OF_MANY)
        sums[:] = 0
        random = np.random.default_rng(0)
        signs = random.choice(np.array([-1, 1], np.float32), n_queries)
        place = random.permutation(n_queries) % n_rows
        made = cls(sums, np.bincount(place, signs, n_rows).astype(np.float32))
        return made, place, signs


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
        some = np.arange(n_queries) if rows is None else rows
        width = min(N_TOPICS, len(some), n_gallery)
        topics = np.empty((n_providers, width, n_gallery), np.float32)
        for k in range(n_providers):
            own = np.empty((len(some), n_gallery), np.float32)
            for row, seen in zip(some, own, strict=True):  # one by one: they stay in the cache
                np.subtract(scores[row, k], statistics.mean[k], out=seen)
                seen /= statistics.std[k]
                np.copyto(seen, 0, where=~np.isfinite(seen))
            topics[k] = _leading(own)
        return cls(topics)

    @classmethod
    def of_mixtures(cls, mixtures: Sequence[Mixtures], statistics: ColumnStatistics) -> Topics:
        """Return the leading directions of a bank of which sums of queries are known.

        What a sum of queries has above the column means, so many times as queries count in it, is
        the sum of what each of them has: on average over signs such sums have the covariance of the
        queries (Clarkson and Woodruff, STOC 2013).

        Parameters
        ----------
        mixtures : sequence of Mixtures
            Of different queries.
        statistics : ColumnStatistics of shape (K, N)
        """
        signs = np.concatenate([some.signs for some in mixtures])[:, None]
        n_providers, n_gallery = mixtures[0].rows.shape[1:]
        width = min(N_TOPICS, len(signs), n_gallery)
        topics = np.empty((n_providers, width, n_gallery), np.float32)
        for k in range(n_providers):
            own = np.concatenate([some.rows[:, k] for some in mixtures])
            own -= signs * statistics.mean[k]
            own /= statistics.std[k]
            topics[k] = _leading(own)
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


def _leading(own: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the leading directions of column-standardised rows (B, N), (H, N), orthonormal.

    Some candidates at a time, twice an iteration: what their directions are and add to products,
    then, once it is known how to combine those, what they add to the queries' coordinates.
    """
    n_rows, n_gallery = own.shape
    width = min(N_TOPICS, n_rows, n_gallery)
    blocks = [slice(start, start + AT_ONCE) for start in range(0, n_gallery, AT_ONCE)]
    coordinates = np.random.default_rng(0).normal(size=(n_rows, width)).astype(np.float32)
    directions = np.empty((n_gallery, width), np.float32)
    for _ in range(N_ITERATIONS):
        orthonormal = _orthonormal(own, coordinates, directions, blocks)
        coordinates = np.zeros((n_rows, width), np.float32)
        for block in blocks:
            coordinates += own[:, block] @ orthonormal(block)
    orthonormal = _orthonormal(own, coordinates, directions, blocks)
    return np.concatenate([orthonormal(block).T for block in blocks], axis=1)


def _orthonormal(
    own: NDArray[np.float32],
    coordinates: NDArray[np.float32],
    directions: NDArray[np.float32],
    blocks: Sequence[slice],
) -> Callable[[slice], NDArray[np.float32]]:
    """Write directions (N, H) of queries with these coordinates (B, H); return what makes
    orthonormal ones of some candidates, (n, H), that span the same.

    Their products with each other say how to combine them (Cholesky), a tenth of the work of
    Householder's reflections (QR), which are left for directions so nearly the same that products,
    where what tells them apart is squared, would not hold it.
    """
    products = np.zeros((directions.shape[1],) * 2)
    for block in blocks:
        directions[block] = some = own[:, block].T @ coordinates
        wide = some.astype(np.float64)
        products += wide.T @ wide
    try:
        lower = np.linalg.cholesky(products)
    except np.linalg.LinAlgError:
        lower = np.zeros_like(products)
    edges = np.diag(lower)
    if not edges.min(initial=np.inf) > SMALLEST_EDGE * edges.max(initial=0.0):
        reflected = np.linalg.qr(directions)[0]
        return lambda block: reflected[block]
    combined = np.linalg.inv(lower).T
    return lambda block: (directions[block].astype(np.float64) @ combined).astype(np.float32)


def _visible_mean(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of each column's finite scores (B, K, N), 0 where there are none."""
    total = np.zeros(scores.shape[1:])
    count = np.zeros(scores.shape[1:], np.int32)
    for row in scores:
        seen = np.isfinite(row)
        np.add(total, row, out=total, where=seen)
        count += seen
    return (total / np.maximum(count, 1)).astype(np.float32)
