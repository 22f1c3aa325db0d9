"""Candidates of one query that some model puts first, with their channels; chosen in NumPy.

The same as machine code: ``opening.py``. Ranks beyond a model's first are read from a histogram of
its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Tile
from dafm_core.fusion.channels.cells import Cells, Columns, channels_at, log_factorials, take
from dafm_core.fusion.channels.row_loops import EDGE, N_BUCKETS, PER_UNIT
from dafm_core.fusion.channels.view import ChannelReader, TileView


class MadeView(TileView):
    """A view whose channels are made: those of W candidates of each query, (B, C, W).

    Parameters
    ----------
    tile : ndarray of shape (B, K, W), float32
        Raw scores.
    channels : ndarray of shape (B, C, W), float32
    context : ndarray of shape (B, D), float32
        Of whole rows.
    """

    def __init__(
        self,
        reader: ChannelReader,
        tile: Tile,
        channels: NDArray[np.float32],
        context: NDArray[np.float32],
    ) -> None:
        super().__init__(reader, tile)
        self._made, self._row_context = channels, context

    @classmethod
    def of(cls, views: Sequence[MadeView]) -> MadeView:
        """Return views of equally many candidates as one."""
        return MadeView(
            views[0].reader,
            np.concatenate([view.tile for view in views]),
            np.concatenate([view.channels() for view in views]),
            np.concatenate([view.context() for view in views]),
        )

    def channels(self) -> NDArray[np.float32]:
        """Return the channels of these candidates, (B, C, W)."""
        return self._made

    def context(self) -> NDArray[np.float32]:
        """Return the context of the whole rows, (B, D)."""
        return self._row_context


class Candidates(MadeView):
    """Some candidates of one query, with their channels: (1, C, W), and the row's context.

    Parameters
    ----------
    columns : ndarray of shape (W,)
        Where they stand in the gallery.
    tile, channels, context : ndarray
        As a :class:`MadeView` of one query has them.
    """

    def __init__(
        self,
        reader: ChannelReader,
        tile: Tile,
        columns: NDArray[np.int64],
        channels: NDArray[np.float32],
        context: NDArray[np.float32],
    ) -> None:
        super().__init__(reader, tile, channels, context)
        self.columns_in_gallery = columns

    def some(self, places: NDArray[np.int64]) -> Candidates:
        """Return the candidates at some places among these."""
        return Candidates(
            self.reader,
            self.tile[:, :, places],
            self.columns_in_gallery[places],
            self._made[:, :, places],
            self._row_context,
        )


@dataclass(frozen=True)
class PlainOpener:
    """Chooses candidates and makes their channels in NumPy."""

    reader: ChannelReader

    def __call__(self, tile: Tile, n_first: int) -> Iterator[Candidates]:
        """Yield the candidates of each query: every model's ``n_first``."""
        for b in range(len(tile)):
            view = self.reader.read(tile[b : b + 1])
            evidence = np.fmax(view.evidence[0], np.float32(-np.inf))
            top = descending(evidence, n_first)
            bars = last_of_first(top, np.float32(-np.inf))
            columns = _reaching(evidence, bars, n_first)
            ranks = NearRanks(evidence, top)
            yield Candidates(
                self.reader,
                take(view.tile, columns[None]),
                columns,
                channels_at(view, columns[None], log_ranks=ranks),
                view.context(),
            )


def descending(evidence: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return the n best of each row (..., N), descending."""
    at = evidence.shape[-1] - n
    top = np.sort(np.partition(evidence, at, axis=-1)[..., at:], axis=-1)
    return np.ascontiguousarray(top[..., ::-1])


def last_of_first(top: NDArray[np.float32], lowest: np.float32) -> NDArray[np.float32]:
    """Return the last known score among each row's best, (K, M) -> (K,); inf where none is."""
    n_known = (top > lowest).sum(axis=-1)
    last = np.take_along_axis(top, np.maximum(n_known, 1)[..., None] - 1, axis=-1)[..., 0]
    return np.where(n_known > 0, last, np.float32(np.inf)).astype(np.float32)


def _reaching(
    evidence: NDArray[np.float32], bars: NDArray[np.float32], n_first: int
) -> NDArray[np.int64]:
    """Return the candidates that reach any model's bar, ascending."""
    mask = np.zeros(evidence.shape[1], bool)
    for own, bar in zip(evidence, bars, strict=True):
        reach = own >= bar
        crowded = np.count_nonzero(reach) > 2 * n_first
        mask |= own > bar if crowded else reach  # level with so many, they say nothing themselves
    return np.flatnonzero(mask)


@dataclass(frozen=True)
class NearRanks:
    """Log ranks of one query: exact among every model's best, from a histogram below them.

    Parameters
    ----------
    evidence : ndarray of shape (K, N), float32
        -inf where there is none.
    top : ndarray of shape (K, M), float32
        Each model's best, descending.
    """

    evidence: NDArray[np.float32]
    top: NDArray[np.float32]

    def __call__(self, view: TileView, columns: Columns) -> Cells:
        """Return how far the logarithm of each rank is below the row's mean, (1, K, W)."""
        out = np.zeros((1, len(self.evidence), columns.shape[1]), np.float32)
        for k, evidence in enumerate(self.evidence):
            known = evidence[evidence > -np.inf]
            if len(known) and known.max() > known.min():
                out[0, k] = self._of_model(known, self.top[k, : len(known)], evidence[columns[0]])
        return out

    @staticmethod
    def _of_model(
        known: NDArray[np.float32], top: NDArray[np.float32], chosen: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        n, bar, sums = len(known), top[-1], log_factorials(len(known))
        n_level = int(np.count_nonzero(known == bar))
        first = np.flatnonzero(np.append(True, top[1:] != top[:-1]))  # of each run of ties
        end = np.append(first[1:], first[-1] + n_level)
        lost = (end - first) * np.log((first + end + 1) / 2) - (sums[end] - sums[first])
        above = np.searchsorted(-top, -chosen, "left")
        level = np.searchsorted(-top, -chosen, "right") - above
        exact = above + (np.where(chosen == bar, n_level, level) + 1) / 2
        starts = np.append(0, np.cumsum(np.bincount(_buckets(known), minlength=N_BUCKETS)))
        bucket = _buckets(chosen)
        near = (starts[bucket] + starts[bucket + 1] + 1) / 2
        ranks = np.where(chosen >= bar, exact, np.maximum(len(top) + 1, near))
        logs: NDArray[np.float64] = (sums[n] + lost.sum()) / n - np.log(np.maximum(ranks, 1))
        return logs


def _buckets(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return in which bucket each score is, those of the highest scores first."""
    place: NDArray[np.float32] = np.clip((EDGE - scores) * PER_UNIT, 0, N_BUCKETS - 1)
    return place.astype(np.int32)
