"""Put scores of different models on one scale: pure functions over the last axis, and over a
bank's columns.

Excluded cells are -inf on the way in and on the way out, unknown ones NaN; neither takes part in
any statistic. A
constant row, or a row with one candidate, has no evidence in it and becomes zeros (ranks: the
middle). Nothing here knows about providers, files or fusers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

SMALLEST_SPAN = 4 * float(np.finfo(np.float32).eps)
"""Spread of a row, relative to its largest score, that is rounding: the row is constant."""

Normalization: TypeAlias = Literal["zscore", "minmax", "rank", "none"]


def zscore_rows(scores: NDArray[Any]) -> NDArray[np.float32]:
    """Return each row minus its mean, over its standard deviation.

    Parameters
    ----------
    scores : ndarray of shape (..., N)
        Finite, or -inf where excluded.

    Returns
    -------
    ndarray of shape (..., N), float32
        Mean 0, standard deviation 1 over the cells that are not excluded; a constant row gives 0.
    """
    kept = np.isfinite(scores)
    n = np.maximum(np.count_nonzero(kept, axis=-1, keepdims=True), 1)
    # Counted from the best score: near a large offset (1000.0003) the difference of two float32
    # numbers is exact where the numbers themselves are coarse, and squares of tiny ones survive.
    best = np.max(scores, axis=-1, keepdims=True, where=kept, initial=-np.inf)
    worst = np.min(scores, axis=-1, keepdims=True, where=kept, initial=np.inf)
    best, worst = (np.where(np.isfinite(edge), edge, 0) for edge in (best, worst))
    span = best - worst
    informative = span > SMALLEST_SPAN * np.maximum(np.abs(best), np.abs(worst))
    below = np.where(kept, scores - best, 0)
    unit = np.divide(below, np.where(informative, span, 1)).astype(np.float32, copy=False)
    mean = unit.sum(-1, keepdims=True, dtype=np.float64) / n  # in [-1, 0]
    centred = np.where(kept, unit - mean.astype(np.float32), np.float32(0))
    squares = np.einsum("...n,...n->...", centred, centred, dtype=np.float64)[..., None]
    std = np.sqrt(squares / n).astype(np.float32)
    scaled = np.divide(centred, std, out=np.zeros_like(centred), where=informative & (std > 0))
    result: NDArray[np.float32] = np.where(kept, scaled, _not_scored(scores))
    return result


def minmax_rows(scores: NDArray[Any]) -> NDArray[np.float32]:
    """Return each row shifted and scaled to [0, 1]; a constant row gives 0. Shapes as in
    zscore_rows.
    """
    kept = np.isfinite(scores)
    low = np.where(kept, scores, np.inf).min(-1, keepdims=True, initial=np.inf)
    high = np.where(kept, scores, -np.inf).max(-1, keepdims=True, initial=-np.inf)
    span = np.where(high > low, high - low, 1).astype(np.float64)
    scaled = (np.where(kept, scores, 0) - np.where(np.isfinite(low), low, 0)) / span
    return np.where(kept, scaled, _not_scored(scores)).astype(np.float32)


def rank_rows(scores: NDArray[Any]) -> NDArray[np.float32]:
    """Return each cell's 1-based rank in its row, best = 1, ties sharing their mean rank.

    Excluded cells rank +inf, whatever their number, and unknown ones NaN; the others rank among
    themselves.

    Returns
    -------
    ndarray of shape (..., N), float32
        In [1, N], multiples of 0.5; +inf where excluded.
    """
    unknown = np.isnan(scores)
    ordered_last = np.where(unknown, np.float32(-np.inf), scores) if unknown.any() else scores
    flat = np.ascontiguousarray(ordered_last).reshape(-1, scores.shape[-1])
    ranks = np.empty(flat.shape, np.float32)
    for row, out in zip(flat, ranks, strict=True):
        order = np.argsort(-row)  # ties in any order: they share their mean rank
        ordered = row[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        ends = np.append(starts[1:], len(row))  # a run of equal scores is starts[i]:ends[i]
        mean_rank = (starts + ends + 1) / 2
        out[order] = np.repeat(mean_rank, ends - starts)
    ranks = np.where(np.isneginf(scores), np.float32(np.inf), ranks.reshape(scores.shape))
    return np.where(unknown, np.float32(np.nan), ranks)


def unit_rank_rows(scores: NDArray[Any]) -> NDArray[np.float32]:
    """Return ranks as scores in [0, 1], best = 1; a constant row, or one candidate, gives 0.5."""
    ranks = rank_rows(scores)
    kept = np.isfinite(ranks)
    n = kept.sum(-1, keepdims=True)
    unit = (n - np.where(kept, ranks, 0)) / np.maximum(n - 1, 1)
    unit = np.where(n > 1, unit, 0.5)
    return np.where(kept, unit, _not_scored(scores)).astype(np.float32)


def _not_scored(scores: NDArray[Any]) -> NDArray[np.float32]:
    """Return what stands where there is no score: NaN where it is unknown, else -inf."""
    return np.where(np.isnan(scores), np.float32(np.nan), np.float32(-np.inf))


def identity_rows(scores: NDArray[Any]) -> NDArray[np.float32]:
    """Return the scores as they are, float32."""
    return scores.astype(np.float32, copy=False)


NORMALIZATIONS: dict[Normalization, Callable[[NDArray[Any]], NDArray[np.float32]]] = {
    "zscore": zscore_rows,
    "minmax": minmax_rows,
    "rank": unit_rank_rows,
    "none": identity_rows,
}


def column_moments(tiles: Iterable[NDArray[Any]]) -> NDArray[np.float64]:
    """Return count, sum and sum of squares of each column over tiles (B, K, N), read once.

    Moments of disjoint banks add up, and a part of a bank is left out by subtracting its own.

    Returns
    -------
    ndarray of shape (3, K, N), float64
        Excluded cells (-inf) are left out.
    """
    moments: Any = 0.0
    for tile in tiles:
        kept = np.isfinite(tile)
        wide = np.where(kept, tile, 0)
        squares = np.einsum("bkn,bkn->kn", wide, wide, dtype=np.float64)
        sums = np.sum(wide, axis=0, dtype=np.float64)
        moments = moments + np.stack([np.count_nonzero(kept, axis=0), sums, squares])
    return np.asarray(moments, np.float64)


@dataclass(frozen=True, eq=False)
class ColumnStatistics:
    """How each candidate is scored by a bank of queries: a hub is high whatever is asked.

    Parameters
    ----------
    mean, std : ndarray of shape (K, N), float32
        Over the bank's queries; ``std`` is 1 where a column is constant.

    References
    ----------
    Bogolin et al., Cross Modal Retrieval with Querybank Normalisation, CVPR 2022, uses a bank in
    the same spirit; plain standardisation is what we measured to help.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of_tiles(cls, tiles: Iterable[NDArray[Any]]) -> ColumnStatistics:
        """Return statistics over tiles (B, K, N) of a bank's row-standardised scores, read once.

        Excluded cells (-inf) are left out; a column seen by fewer than two queries gets mean 0,
        std 1.
        """
        return cls.of_moments(column_moments(tiles))

    @classmethod
    def of_moments(cls, moments: NDArray[np.float64], *, n_prior: float = 0.0) -> ColumnStatistics:
        """Return statistics from :func:`column_moments`, shrunk towards mean 0 and std 1.

        Parameters
        ----------
        n_prior : float, default=0.0
            Queries that the prior counts for: with a small bank the columns stay as they are.
        """
        count, total, squares = moments
        n = np.maximum(count, 1)
        mean = total / n
        variance = np.maximum(squares / n - mean**2, 0)
        known = count >= 2
        trust = np.where(known, n / (n + n_prior), 0)
        variance = np.where(variance > 1e-12, trust * variance + 1 - trust, 1)
        return cls(
            (trust * mean).astype(np.float32),
            np.where(known, np.sqrt(variance), 1).astype(np.float32),
        )

    def apply(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``(tile - mean) / std`` for a tile (B, K, N); -inf stays -inf."""
        return (tile - self.mean) / self.std
