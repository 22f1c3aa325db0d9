"""The best candidates of a query in two stages: networks and costly channels for few of them.

First, whole rows are standardised, and every model's best candidates are chosen. Then only those
get channels, and only the best of those by a cheap score are asked of what is costly. What can be
lost by it is measured by ``tests/benchmarks/speed``; with as many first as candidates, nothing is.

Both stages exist as loops for Numba (``compiled.py``), and in NumPy here: the same numbers, but for
rounding. Ranks beyond every model's first are read from a histogram of the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Tile
from dafm_core.fusion.best import Best, BestScorer
from dafm_core.fusion.channels.cells import Cells, Columns, channels_at, log_factorials, take
from dafm_core.fusion.channels.compiled import EDGE, MISSING, N_BUCKETS, PER_UNIT, RowLoops
from dafm_core.fusion.channels.families import (
    BANK_ONLY_FAMILIES,
    FAMILIES,
    NEIGHBOUR_FAMILIES,
)
from dafm_core.fusion.channels.view import N_TOP, ChannelReader, TileView, ViewScorer
from dafm_core.ground.normalize import minmax_rows
from dafm_core.ground.ordering import best_first, tie_places

N_FIRST, FIRST_PER_PLACE = 200, 6
"""Best candidates of each model that are fused: at least, and for each place in a list."""
N_CLOSE, CLOSE_PER_PLACE = 128, 4
"""Best by the cheap score that the costly one is asked about: at least, and for each place."""
WORTH_COMPILING: Final = 1 << 28
"""Scores to fuse from which on machine code repays the second that it takes to load Numba."""
BLOCK_ROWS: Final = 16
"""Queries read at a time: what is made of their rows stays in the cache."""

Opener: TypeAlias = Callable[[Tile], "Iterator[Candidates]"]
"""Yields the candidates of each query of a tile."""


class Candidates(TileView):
    """Some candidates of one query, with their channels: (1, C, W), and the row's context.

    Parameters
    ----------
    columns : ndarray of shape (W,)
        Where they stand in the gallery.
    tile : ndarray of shape (1, K, W), float32
        Their raw scores.
    """

    def __init__(
        self,
        reader: ChannelReader,
        tile: Tile,
        columns: NDArray[np.int64],
        channels: NDArray[np.float32],
        context: NDArray[np.float32],
    ) -> None:
        super().__init__(reader, tile)
        self.columns_in_gallery = columns
        self._made, self._row_context = channels, context

    def channels(self) -> NDArray[np.float32]:
        """Return the channels of these candidates, (1, C, W)."""
        return self._made

    def context(self) -> NDArray[np.float32]:
        """Return the context of the whole row, (1, D)."""
        return self._row_context

    def some(self, places: NDArray[np.int64]) -> Candidates:
        """Return the candidates at some places among these."""
        return Candidates(
            self.reader,
            self.tile[:, :, places],
            self.columns_in_gallery[places],
            self._made[:, :, places],
            self._row_context,
        )


def two_stages(
    reader: ChannelReader,
    score: ViewScorer,
    k: int,
    *,
    cheap: ViewScorer | None,
    loops: RowLoops | None,
    n_first: int | None = None,
) -> BestScorer:
    """Return the function that finds the best k candidates of each row.

    Parameters
    ----------
    score : callable
        Scores a view.
    k : int
    cheap : callable, optional
        Scores a view nearly as well, at a fraction of the cost.
    loops : RowLoops, optional
        Machine code; NumPy without.
    n_first : int, optional
        Best candidates of each model that are fused; by default as many as ``k`` needs.
    """
    gallery = reader.source[0]
    places, n_gallery = tie_places(gallery.ids), gallery.n_candidates
    first = min(n_gallery, n_first or max(N_FIRST, FIRST_PER_PLACE * k))
    n_close = max(N_CLOSE, CLOSE_PER_PLACE * k) if first < n_gallery else n_gallery
    opened: Opener = PlainOpener(reader, first)
    if loops is not None:
        opened = CompiledOpener(reader, first, loops)

    def best(tile: Tile) -> Best:
        found = Best.none(len(tile), k)
        for b, view in enumerate(opened(tile)):
            columns = view.columns_in_gallery
            if len(columns) < min(k, int(np.count_nonzero(tile[b, 0] > -np.inf))):
                # No model tells so many apart: all of them, then.
                fused = score(reader.read(tile[b : b + 1]))
                fused[0, np.isneginf(tile[b, 0])] = -np.inf
                found.put(b, *_first(Best.of_scores(fused, places, k)))
                continue
            if cheap is not None and len(columns) > n_close:
                close = np.argpartition(cheap(view)[0], len(columns) - n_close)[-n_close:]
                view = view.some(close)
                columns = view.columns_in_gallery
            fused = score(view)[0]
            order = best_first(fused, places[columns], k)
            found.put(b, columns[order], fused[order])
        return found

    return best


def _first(best: Best) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    kept = best.columns[0] >= 0
    return best.columns[0, kept], best.scores[0, kept]


@dataclass(frozen=True)
class PlainOpener:
    """Chooses candidates and makes their channels in NumPy."""

    reader: ChannelReader
    n_first: int

    def __call__(self, tile: Tile) -> Iterator[Candidates]:
        """Yield the candidates of each query."""
        for b in range(len(tile)):
            view = self.reader.read(tile[b : b + 1])
            evidence = np.fmax(view.evidence[0], np.float32(-np.inf))
            top = _descending(evidence, self.n_first)
            bars = _bars(top, np.float32(-np.inf))
            columns = _reaching(evidence, bars, self.n_first)
            ranks = NearRanks(evidence, top)
            yield Candidates(
                self.reader,
                take(view.tile, columns[None]),
                columns,
                channels_at(view, columns[None], log_ranks=ranks),
                view.context(),
            )


def _descending(evidence: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return the n best of each row (..., N), descending."""
    at = evidence.shape[-1] - n
    top = np.sort(np.partition(evidence, at, axis=-1)[..., at:], axis=-1)
    return np.ascontiguousarray(top[..., ::-1])


def _bars(top: NDArray[np.float32], lowest: np.float32) -> NDArray[np.float32]:
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
    return np.clip((EDGE - scores) * PER_UNIT, 0, N_BUCKETS - 1).astype(np.int32)


class CompiledOpener:
    """Chooses candidates and makes their channels by machine code.

    What depends on the gallery alone is laid out candidate by candidate, once.
    """

    def __init__(self, reader: ChannelReader, n_first: int, loops: RowLoops) -> None:
        self.reader, self.n_first, self.loops = reader, n_first, loops
        self.tables = GalleryTables.of(reader)

    def __call__(self, tile: Tile) -> Iterator[Candidates]:
        """Yield the candidates of each query."""
        tile = np.ascontiguousarray(tile, np.float32)
        room = Room.of(min(BLOCK_ROWS, len(tile)), *tile.shape[1:])
        for start in range(0, len(tile), BLOCK_ROWS):
            block = tile[start : start + BLOCK_ROWS]
            yield from self._candidates(block, room.first(len(block)))

    def _candidates(self, tile: Tile, room: Room) -> Iterator[Candidates]:
        """Yield the candidates of each query of a few."""
        n_rows, n_models, n_gallery = tile.shape
        tables, layout = self.tables, self.reader.layout
        raw = np.empty(n_gallery, np.int32)
        self.loops.read_rows(
            tile.view(np.int32), tables.mean, tables.std, *room, raw, raw.view(np.float32)
        )
        context = self.reader.context(_descending(room.rows, min(N_TOP, n_gallery)), room.entropies)
        shares = [room.columns[:, k] @ own for k, own in enumerate(tables.directions)]
        top = _descending(room.evidence, self.n_first)
        bars, n_level = _bars(top, MISSING), np.empty(n_models, np.int32)
        mask, chosen = np.empty(n_gallery, np.uint8), np.empty(n_gallery + 1, np.int32)
        for b in range(n_rows):
            width = self.loops.choose(
                room.evidence[b], bars[b], self.n_first, n_level, mask, chosen
            )
            some = chosen[:width].astype(np.int64)
            shape = len(layout.families), len(layout.providers), width
            channels = np.zeros(shape, np.float32)
            self.loops.write_channels(
                room.rows[b],
                room.columns[b],
                room.evidence[b],
                room.differ[b],
                room.missing[b],
                room.n_missing[b],
                room.starts[b],
                top[b],
                n_level,
                np.stack([share[b] for share in shares]),
                chosen[:width],
                tables.families,
                self.reader.present,
                tables.sums,
                tables.steps,
                tables.thresholds,
                tables.directions,
                tables.direction_sums,
                tables.products,
                tables.nearest,
                tables.n_near,
                channels,
            )
            cells = tile[b : b + 1, :, some]
            if "minmax" in layout.families:
                scaled = minmax_rows(tile[b])[:, some]
                at = layout.families.index("minmax")
                channels[at, self.reader.present] = np.where(np.isfinite(cells[0]), scaled, 0)
            made = channels.reshape(1, layout.n_channels, width)
            yield Candidates(self.reader, cells, some, made, context[b : b + 1])


class Room(NamedTuple):
    """What ``compiled.read_rows`` writes of a few queries, in its order."""

    rows: NDArray[np.float32]
    columns: NDArray[np.float32]
    evidence: NDArray[np.float32]
    differ: NDArray[np.bool_]
    entropies: NDArray[np.float32]
    missing: NDArray[np.int32]
    n_missing: NDArray[np.int32]
    starts: NDArray[np.int32]

    @classmethod
    def of(cls, n_rows: int, n_models: int, n_gallery: int) -> Room:
        """Return room for so many queries."""
        cells = n_rows, n_models, n_gallery
        return cls(
            rows=np.empty(cells, np.float32),
            columns=np.empty(cells, np.float32),
            evidence=np.empty(cells, np.float32),
            differ=np.empty((n_rows, 2, n_models), bool),
            entropies=np.empty((n_rows, n_models), np.float32),
            missing=np.empty(cells, np.int32),
            n_missing=np.empty((n_rows, n_models), np.int32),
            starts=np.empty((n_rows, n_models, N_BUCKETS + 1), np.int32),
        )

    def first(self, n_rows: int) -> Room:
        """Return the room of the first queries."""
        return self._make(part[:n_rows] for part in self)


@dataclass(frozen=True, eq=False)
class GalleryTables:
    """What a gallery's bank and neighbours say, candidate by candidate; see ``compiled.py``."""

    families: NDArray[np.int64]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    sums: NDArray[np.float64]
    steps: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    directions: NDArray[np.float32]
    direction_sums: NDArray[np.float32]
    products: NDArray[np.float32]
    nearest: NDArray[np.int32]
    n_near: NDArray[np.int32]

    @classmethod
    def of(cls, reader: ChannelReader) -> GalleryTables:
        """Return the tables of a reader's gallery."""
        gallery, bank, families = reader.source[0], reader.bank, reader.layout.families
        n_models, n_gallery = gallery.n_providers, gallery.n_candidates
        made = set(families) - {"minmax"}
        if bank is None:
            made -= BANK_ONLY_FAMILIES
        if reader.neighbours is None:
            made -= NEIGHBOUR_FAMILIES
            nearest = np.empty((n_gallery, 0), np.int32)
        else:
            nearest = np.sort(reader.neighbours.T, axis=1).astype(np.int32)  # N is none
        empty = np.empty((n_models, 0), np.float32)
        nothing = np.empty((n_models, n_gallery, 0), np.float32)
        topics = None if bank is None else bank.topics
        return cls(
            families=np.array([families.index(f) if f in made else -1 for f in FAMILIES]),
            mean=empty if bank is None else bank.statistics.mean,
            std=empty if bank is None else bank.statistics.std,
            sums=log_factorials(n_gallery),
            steps=np.log([1] if bank is None else bank.reverse_ranks.ranks).astype(np.float32),
            thresholds=nothing if bank is None else _by_candidate(bank.reverse_ranks.thresholds),
            directions=nothing if topics is None else topics.directions.transpose(0, 2, 1).copy(),
            direction_sums=empty if topics is None else topics.sums,
            products=np.empty((n_models, 0, 0), np.float32) if topics is None else topics.products,
            nearest=nearest,
            n_near=(nearest < n_gallery).sum(axis=1).astype(np.int32),
        )


def _by_candidate(thresholds: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(thresholds.transpose(1, 2, 0))  # (T, K, N) -> (K, N, T)
