"""Why a fusion put a candidate where it did: what each provider said, and the rank without it.

A fuser that can do without a provider is asked to; for the others a provider is left out by making
its row constant, which is no evidence for any candidate.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError
from dafm_core.fusion.base import Fuser, Tile, TileScorer
from dafm_core.ground.normalize import zscore_rows
from dafm_core.store.gallery import Gallery


@dataclass(frozen=True, eq=False)
class Breakdown:
    """Where a fuser's hits come from, provider by provider; arrays (n_queries, depth, K).

    Parameters
    ----------
    score : float32
        The provider's raw score of the hit; NaN, like ``standardised`` and ``rank``, where its
        shortlist leaves the hit out.
    standardised : float32
        The same in standard deviations of the provider's row.
    rank : float64
        Where the provider alone ranks the hit.
    contribution : float32
        How much higher above the mean of the fused row the hit stands because of the provider, in
        standard deviations of that row; weight times standardised score in a weighted sum.
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

    def at(self, row: int, depth: int, k: int) -> dict[str, float | None]:
        """Return what one provider says of one hit, by name; None where it says nothing."""
        values = {name: float(array[row, depth, k]) for name, array in vars(self).items()}
        return {name: value if np.isfinite(value) else None for name, value in values.items()}

    def take(self, rows: NDArray[np.int64]) -> Breakdown:
        """Return some of the queries, in this order."""
        return Breakdown(*(array[rows] for array in vars(self).values()))


def scorers_without(fuser: Fuser, gallery: Gallery) -> list[TileScorer]:
    """Return, for each provider of a gallery the fuser fits, how it fuses without that provider."""
    score = fuser.scorer(gallery)
    return [_scorer_without(fuser, score, gallery, k) for k in range(gallery.n_providers)]


def _scorer_without(fuser: Fuser, score: TileScorer, gallery: Gallery, k: int) -> TileScorer:
    others = [name for i, name in enumerate(gallery.names) if i != k]
    try:
        with _no_warnings():
            rest = fuser.scorer(gallery.select(others))
    except AlignmentError:
        return lambda tile: score(leave_out(tile, k))
    return lambda tile: rest(np.delete(tile, k, axis=1))


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep a fuser from warning that a provider is missing: it is meant to be."""
    logger = logging.getLogger("dafm_core.fusion")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def break_down(
    tile: Tile,
    fused: NDArray[np.float32],
    hits: NDArray[np.int64],
    without: Sequence[TileScorer],
) -> Breakdown:
    """Return the breakdown of some hits of one fuser.

    Parameters
    ----------
    tile : ndarray of shape (B, K, N), float32
    fused : ndarray of shape (B, N), float32
        Of the fuser.
    hits : ndarray of shape (B, depth), int64
        Columns; -1 where there is no such hit, whose values then mean nothing.
    without : sequence of K callables
        Of :func:`scorers_without`.
    """
    cells = np.where(hits < 0, hits[:, :1], hits)
    raw = np.take_along_axis(tile, cells[:, None], axis=2)  # (B, K, depth)
    standing = np.take_along_axis(zscore_rows(tile), cells[:, None], axis=2)
    mean, spread = _mean_and_spread(fused)
    own = np.take_along_axis(fused, cells, axis=1) - mean
    ranks, gains, rank_without = [], [], []
    for k, score in enumerate(without):
        rest = score(tile)
        ranks.append(_rank_of(tile[:, k], cells))
        left = np.take_along_axis(rest, cells, axis=1) - _mean_and_spread(rest)[0]
        gains.append((own - left) / spread)
        rank_without.append(_rank_of(rest, cells))
    return Breakdown(
        raw.transpose(0, 2, 1),  # (B, K, depth) -> (B, depth, K)
        standing.transpose(0, 2, 1),
        np.stack(ranks, axis=2),
        np.stack(gains, axis=2),
        np.stack(rank_without, axis=2),
    )


def leave_out(tile: Tile, k: int) -> Tile:
    """Return the tile with provider ``k``'s rows constant; excluded cells stay -inf."""
    rest = tile.copy()
    rest[:, k] = np.where(np.isneginf(tile[:, k]), np.float32(-np.inf), np.float32(0))
    return rest


def _mean_and_spread(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Return mean and standard deviation of each row's finite cells, (B, 1); 1 where constant."""
    kept = np.isfinite(rows)
    n = np.maximum(kept.sum(axis=1, keepdims=True), 1).astype(np.float32)
    mean = np.where(kept, rows, 0).sum(axis=1, keepdims=True) / n
    spread = np.sqrt((np.where(kept, rows - mean, 0) ** 2).sum(axis=1, keepdims=True) / n)
    return mean, np.where(spread > 0, spread, np.float32(1))


def _rank_of(scores: NDArray[np.float32], cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the expected 1-based rank of some cells of each row, (B, depth); NaN where unknown."""
    own = np.take_along_axis(scores, cells, axis=1)
    ranks = np.empty(own.shape)
    for d in range(own.shape[1]):
        bar = own[:, d, None]
        greater = np.count_nonzero(scores > bar, axis=1)
        ranks[:, d] = greater + (np.count_nonzero(scores == bar, axis=1) + 1) / 2
    return np.where(np.isnan(own), np.nan, ranks)
