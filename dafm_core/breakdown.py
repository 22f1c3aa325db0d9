"""Why a fusion put a candidate where it did: what each provider said, and the rank without it.

A provider is left out by making its row constant: a constant row carries no evidence for any
candidate, and every fuser reads it so, whatever it has learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Tile, TileScorer
from dafm_core.normalize import zscore_rows


@dataclass(frozen=True, eq=False)
class Breakdown:
    """Where a fuser's hits come from, provider by provider; arrays (n_queries, depth, K).

    Parameters
    ----------
    score : float32
        The provider's raw score of the hit.
    standardised : float32
        The same in standard deviations of the provider's row.
    rank : float64
        Where the provider alone ranks the hit.
    contribution : float32
        How much higher the hit stands in the fused row because of the provider, in standard
        deviations of the fused rows with it and without it.
    rank_without : float64
        Where the fuser ranks the hit when the provider is left out.
    """

    score: NDArray[np.float32]
    standardised: NDArray[np.float32]
    rank: NDArray[np.float64]
    contribution: NDArray[np.float32]
    rank_without: NDArray[np.float64]

    @classmethod
    def concatenate(cls, parts: Sequence[Breakdown]) -> Breakdown:
        """Return the breakdowns of several tiles, in their order."""
        fields = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(arrays) for arrays in fields))

    def take(self, rows: NDArray[np.int64]) -> Breakdown:
        """Return some of the queries, in this order."""
        return Breakdown(*(array[rows] for array in vars(self).values()))


def break_down(
    tile: Tile, score: TileScorer, fused: NDArray[np.float32], hits: NDArray[np.int64]
) -> Breakdown:
    """Return the breakdown of some hits of one fuser.

    Parameters
    ----------
    tile : ndarray of shape (B, K, N), float32
    score : callable
        The fuser's scorer.
    fused : ndarray of shape (B, N), float32
        ``score(tile)``.
    hits : ndarray of shape (B, depth), int64
        Columns; what stands for -1 (no such hit) means nothing.
    """
    cells = np.where(hits < 0, hits[:, :1], hits)
    raw = np.take_along_axis(tile, cells[:, None], axis=2)  # (B, K, depth)
    standing = np.take_along_axis(zscore_rows(tile), cells[:, None], axis=2)
    own = np.take_along_axis(zscore_rows(fused), cells, axis=1)
    ranks, gains, without = [], [], []
    for k in range(tile.shape[1]):
        ranks.append(_rank_of(tile[:, k], cells))
        rest = score(leave_out(tile, k))
        gains.append(own - np.take_along_axis(zscore_rows(rest), cells, axis=1))
        without.append(_rank_of(rest, cells))
    return Breakdown(
        raw.transpose(0, 2, 1),  # (B, K, depth) -> (B, depth, K)
        standing.transpose(0, 2, 1),
        np.stack(ranks, axis=2),
        np.stack(gains, axis=2),
        np.stack(without, axis=2),
    )


def leave_out(tile: Tile, k: int) -> Tile:
    """Return the tile with provider ``k``'s rows constant; excluded cells stay -inf."""
    rest = tile.copy()
    rest[:, k] = np.where(np.isfinite(tile[:, k]), np.float32(0), np.float32(-np.inf))
    return rest


def _rank_of(scores: NDArray[np.float32], cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the expected 1-based rank of some cells of each row, (B, depth)."""
    own = np.take_along_axis(scores, cells, axis=1)
    ranks = np.empty(own.shape)
    for d in range(own.shape[1]):
        bar = own[:, d, None]
        greater = np.count_nonzero(scores > bar, axis=1)
        ranks[:, d] = greater + (np.count_nonzero(scores == bar, axis=1) + 1) / 2
    return ranks
