"""Put scores of different models on one scale: pure functions over the last axis, and over a
bank's columns.

Excluded cells are -inf on the way in and on the way out, unknown ones NaN; neither takes part in
any statistic. A
constant row, or a row with one candidate, has no evidence in it and becomes zeros (ranks: the
middle). Nothing here knows about providers, files or fusers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.quick_rows import quick_rows
from dafm_core.ground.row_ranks import write_ranks
from dafm_core.ground.zscore_loops import SMALLEST_SPAN

SHORTEST: Final = 1e-15
"""Length of a vector whose squares float32 still holds well."""

BLOCK_CELLS: Final = 1 << 17
"""Cells worked on at a time: what is made of them on the way stays in the cache."""
COLUMNS_AT_ONCE: Final = 8192
"""Columns of a tile likewise."""

Normalization: TypeAlias = Literal["zscore", "minmax", "rank", "none"]


def zscore_rows(
    scores: NDArray[Any], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return each row minus its mean, over its standard deviation.

    Parameters
    ----------
    scores : ndarray of shape (..., N)
        Finite, or -inf where excluded.
    out : ndarray of shape (..., N), float32, optional
        Contiguous; what is returned.

    Returns
    -------
    ndarray of shape (..., N), float32
        Mean 0, standard deviation 1 over the cells that are not excluded; a constant row gives 0.
    """
    scaled = np.empty(scores.shape, np.float32) if out is None else out
    quick = quick_rows()
    if quick is None or scores.dtype != np.float32 or not scores.size:
        for block, own in zip(_blocks(scores), _blocks(scaled), strict=True):
            _zscore(block, own)
        return scaled
    rows, found = _rows(scores), _rows(scaled)
    for row in quick.standardise_rows(rows, found):
        _zscore(rows[row : row + 1], found[row : row + 1])
    return scaled


def mean_of_zscores(tile: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean over models of standardised rows, (B, K, N) -> (B, N)."""
    quick = quick_rows()
    if quick is not None and tile.dtype == np.float32 and tile.size:
        mean = quick.mean_of_zscores(tile)
        if mean is not None:
            return mean
    plain: NDArray[np.float32] = zscore_rows(tile).mean(axis=1)
    return plain


def _blocks(scores: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the rows (..., N) as views (R, N) of about ``BLOCK_CELLS`` cells, to stay in the cache.

    Of an array that is not contiguous they are copies.
    """
    rows = _rows(scores)
    step = max(1, BLOCK_CELLS // rows.shape[1])
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _rows(scores: NDArray[Any]) -> NDArray[Any]:
    """Return rows (..., N) as (R, N)."""
    return scores.reshape(-1, scores.shape[-1]) if scores.size else scores.reshape(0, 1)


def _zscore(block: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Standardise rows (R, N); what is excluded or unknown is looked up once and set aside."""
    # Counted from the best score: near a large offset (1000.0003) the difference of two float32
    # numbers is exact where the numbers themselves are coarse, and squares of tiny ones survive.
    best = block.max(axis=1, keepdims=True, initial=-np.inf)
    worst = block.min(axis=1, keepdims=True, initial=np.inf)
    missing, n = None, block.shape[1]
    if not (np.isfinite(best).all() and np.isfinite(worst).all()):
        kept = np.isfinite(block)
        missing, n = np.flatnonzero(~kept), np.maximum(kept.sum(axis=1, keepdims=True), 1)
        best = np.fmax.reduce(block, axis=1, keepdims=True, initial=-np.inf)
        best[~np.isfinite(best)] = 0
    with np.errstate(over="ignore"):
        below = np.subtract(block, best, out=out if block.dtype == np.float32 else None)
        if missing is None:
            span = best - worst
        else:
            below.reshape(-1)[missing] = 0
            span = -below.min(axis=1, keepdims=True, initial=0)
    if not np.isfinite(span).all():  # farther apart than the type reaches: a quarter, exactly
        _zscore(block * np.where(np.isfinite(span), np.float32(1), np.float32(0.25)), out)
        return
    informative = span > SMALLEST_SPAN * np.maximum(np.abs(best), np.abs(best - span))
    np.divide(below, np.where(informative, span, 1), out=out, casting="same_kind")
    out -= (out.sum(axis=1, keepdims=True, dtype=np.float64) / n).astype(np.float32)
    if missing is not None:
        out.reshape(-1)[missing] = 0
    wide = out.astype(np.float64)
    std = np.sqrt(np.einsum("rn,rn->r", wide, wide)[:, None] / n).astype(np.float32)
    informative &= std > 0
    out /= np.where(informative, std, 1)
    out[~informative[:, 0]] = 0
    if missing is not None:
        out.reshape(-1)[missing] = _not_scored(block.reshape(-1)[missing])


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows (n, D) of length 1, whatever their scale; rows of zeros stay zero.

    Examples
    --------
    >>> rows = unit_rows(np.array([[3e30, 4e30], [3e-30, 4e-30], [0, 0]], np.float32))
    >>> [[round(float(number), 4) for number in row] for row in rows]
    [[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]]
    """
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    usual = (lengths > SHORTEST) & np.isfinite(lengths)
    if not usual.all():  # squares beyond what float32 holds
        largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
        largest[usual | (largest == 0)] = 1
        vectors = vectors / largest
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    scaled: NDArray[np.float32] = vectors / lengths
    return scaled


def minmax_rows(scores: NDArray[Any]) -> NDArray[np.float32]:
    """Return each row shifted and scaled to [0, 1]; a constant row gives 0. Shapes as in
    zscore_rows.
    """
    scaled = np.empty(scores.shape, np.float32)
    for block, out in zip(_blocks(scores), _blocks(scaled), strict=True):
        kept = np.isfinite(block)
        low = np.min(block, axis=1, keepdims=True, where=kept, initial=np.inf)
        high = np.max(block, axis=1, keepdims=True, where=kept, initial=-np.inf)
        low, high = low.astype(np.float64), high.astype(np.float64)
        span = np.where(high > low, high - low, 1)
        above = np.where(kept, block, 0) - np.where(np.isfinite(low), low, 0)
        out[:] = np.where(kept, above / span, _not_scored(block))
    return scaled


def rank_rows(scores: NDArray[Any]) -> NDArray[np.float32]:
    """Return each cell's 1-based rank in its row, best = 1, ties sharing their mean rank.

    Excluded cells rank +inf, whatever their number, and unknown ones NaN; the others rank among
    themselves.

    Returns
    -------
    ndarray of shape (..., N), float32
        In [1, N], multiples of 0.5; +inf where excluded.
    """
    if (quick := quick_rows()) is not None and scores.dtype == np.float32 and scores.size:
        return quick.rank_rows(_rows(scores), as_shares=False).reshape(scores.shape)
    unknown = np.isnan(scores)
    ordered_last = np.where(unknown, np.float32(-np.inf), scores) if unknown.any() else scores
    ranks = np.empty(scores.shape, np.float32)
    for block, out in zip(_blocks(ordered_last), _blocks(ranks), strict=True):
        write_ranks(block.astype(np.float32, copy=False), out)
    ranks[np.isneginf(scores)] = np.inf
    ranks[unknown] = np.nan
    return ranks


def unit_rank_rows(scores: NDArray[Any]) -> NDArray[np.float32]:
    """Return ranks as scores in [0, 1], best = 1; a constant row, or one candidate, gives 0.5."""
    if (quick := quick_rows()) is not None and scores.dtype == np.float32 and scores.size:
        return quick.rank_rows(_rows(scores), as_shares=True).reshape(scores.shape)
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
        own = np.empty((3, *tile.shape[1:]))
        for start in range(0, tile.shape[2], COLUMNS_AT_ONCE):
            some = slice(start, start + COLUMNS_AT_ONCE)
            kept = np.isfinite(tile[:, :, some])
            wide = np.where(kept, tile[:, :, some], 0)
            own[0, :, some] = np.count_nonzero(kept, axis=0)
            own[1, :, some] = np.sum(wide, axis=0, dtype=np.float64)
            own[2, :, some] = np.einsum("bkn,bkn->kn", wide, wide, dtype=np.float64)
        moments = moments + own
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
