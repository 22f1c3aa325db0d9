"""A bank of a large gallery, learned a block of images at a time: its scores are never held whole.

Row means and spreads are exact, from sums over the features (``moments.py``). What the rows of a
bank have in common follows from their products with each other, which add up over images. So any
number of queries costs three passes over the features, and new images are seen the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.bank import N_PRIOR
from dafm_core.fusion.channels.reverse_ranks import geometric_ranks
from dafm_core.fusion.channels.topics import N_ITERATIONS, N_TOPICS
from dafm_core.ground.normalize import ColumnStatistics, column_moments
from dafm_core.ground.progress import Progress, silent
from dafm_core.search.cells import BankRows
from dafm_core.search.features import GalleryFeatures
from dafm_core.search.moments import Moments

BLOCK_CELLS: Final = 1 << 22
"""Scores that are made at a time."""
SMALLEST: Final = 1e-6
"""Part of the largest product below which a direction is rounding."""


@dataclass(frozen=True, eq=False)
class BankScores:
    """Every bank query's scores, made again whenever they are looked at.

    Parameters
    ----------
    queries : mapping of str to ndarray of shape (B, D), float32
        By provider; scores are inner products.
    excluded : sequence of ndarray of int64
        Columns that each query does not ask about.
    """

    queries: Mapping[str, NDArray[np.float32]]
    excluded: Sequence[NDArray[np.int64]]

    @property
    def n_queries(self) -> int:
        """Number of queries, B."""
        return len(self.excluded)

    def of(
        self, name: str, columns: NDArray[np.int64], features: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return one provider's scores of some images, (B, n); -inf where excluded.

        Parameters
        ----------
        columns : ndarray of shape (n,), int64
            Ascending.
        features : ndarray of shape (n, D)
        """
        scores = self.queries[name] @ np.asarray(features, np.float32).T
        for row, out in zip(scores, self.excluded, strict=True):
            places = np.searchsorted(columns, out)
            here = places < len(columns)
            here[here] = columns[places[here]] == out[here]
            row[places[here]] = -np.inf
        return scores

    def blocks(
        self, name: str, features: GalleryFeatures
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield columns and scores of all images, (B, n)."""
        for where, block in features.blocks(max(1, BLOCK_CELLS // self.n_queries)):
            yield where, self.of(name, np.arange(where.start, where.stop), block)


def learned_rows(
    features: Mapping[str, GalleryFeatures], scores: BankScores, progress: Progress = silent
) -> BankRows:
    """Return what each image's column is made with: of all queries over all images.

    Parameters
    ----------
    features : mapping of str to GalleryFeatures
        By provider, in order.
    """
    means, stds, maps = [], [], []
    for done, (name, gallery) in enumerate(features.items()):
        progress("bank", done, len(features))
        mean, std = _row_moments(name, gallery, scores)
        products = np.zeros((scores.n_queries, scores.n_queries))
        for _, block in scores.blocks(name, gallery):
            columns = _seen((block - mean) / std)
            products += columns @ columns.T
        means.append(mean[:, 0])
        stds.append(std[:, 0])
        maps.append(_topic_map(products, min(N_TOPICS, scores.n_queries, len(gallery))))
    progress("bank", len(features), len(features))
    ranks = geometric_ranks(scores.n_queries)
    return BankRows(
        np.stack(means).astype(np.float64), np.stack(stds).astype(np.float64), np.stack(maps), ranks
    )


def _row_moments(
    name: str, gallery: GalleryFeatures, scores: BankScores
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and spread of every query's scores, (B, 1); a constant row's spread is 1."""
    moments = Moments.of((block, None) for _, block in gallery.blocks())
    rows = []
    for query, out in zip(scores.queries[name], scores.excluded, strict=True):
        rows.append(moments.of_row(query, gallery.take(np.asarray(out)) @ query))
    mean, std = ([getattr(row, part) for row in rows] for part in ("mean", "std"))
    spread = np.array(std, np.float32)
    spread[spread == 0] = 1
    return np.array(mean, np.float32)[:, None], spread[:, None]


def _seen(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return row-standardised scores less their column's mean, over its spread; 0 if excluded."""
    moments = column_moments([rows[:, None]])
    seen = ColumnStatistics.of_moments(moments, n_prior=N_PRIOR).apply(rows[:, None])[:, 0]
    seen[~np.isfinite(seen)] = 0
    return seen


def _topic_map(products: NDArray[np.float64], n_topics: int) -> NDArray[np.float64]:
    """Return what turns an image's column into its topics, (B, H).

    The subspace iteration of :class:`Topics`, whose directions are mixtures of rows, in terms of
    the mixtures: their inner products are all that it needs.
    """
    mixture = np.random.default_rng(0).normal(size=(len(products), n_topics))
    for _ in range(N_ITERATIONS):
        mixture = products @ _orthonormal(mixture, products)
    return _orthonormal(mixture, products)


def _orthonormal(
    mixture: NDArray[np.float64], products: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return mixtures of the same rows whose directions are orthonormal; zeros for dependent ones.

    Parameters
    ----------
    mixture : ndarray of shape (B, H)
    """
    values, vectors = np.linalg.eigh(mixture.T @ products @ mixture)
    kept = values > SMALLEST * max(values[-1], np.finfo(float).tiny)
    lengths = np.sqrt(np.where(kept, values, 1))
    orthonormal: NDArray[np.float64] = mixture @ (vectors * (kept / lengths))
    return orthonormal
