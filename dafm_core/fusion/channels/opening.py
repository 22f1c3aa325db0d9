"""Candidates that some model puts first, with their channels, by machine code.

What depends on the gallery alone is laid out candidate by candidate, once. In NumPy:
``candidates.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Tile
from dafm_core.fusion.channels.candidates import Candidates, descending, last_of_first
from dafm_core.fusion.channels.cells import log_factorials
from dafm_core.fusion.channels.compiled import RowLoops
from dafm_core.fusion.channels.families import (
    BANK_ONLY_FAMILIES,
    FAMILIES,
    NEIGHBOUR_FAMILIES,
)
from dafm_core.fusion.channels.row_loops import MISSING, N_BUCKETS, NEAR
from dafm_core.fusion.channels.topics import Topics
from dafm_core.fusion.channels.view import N_TOP, ChannelReader
from dafm_core.ground.normalize import minmax_rows

BLOCK_ROWS: Final = 16
"""Queries read at a time: what is made of their rows stays in the cache."""


class CompiledOpener:
    """Chooses candidates and makes their channels by machine code.

    What depends on the gallery alone is laid out candidate by candidate, once.
    """

    def __init__(self, reader: ChannelReader, loops: RowLoops) -> None:
        self.reader, self.loops = reader, loops
        self.tables = GalleryTables.of(reader)

    def __call__(self, tile: Tile, n_first: int) -> Iterator[Candidates]:
        """Yield the candidates of each query: every model's ``n_first``."""
        tile = np.ascontiguousarray(tile, np.float32)
        room = Room.of(min(BLOCK_ROWS, len(tile)), *tile.shape[1:])
        for start in range(0, len(tile), BLOCK_ROWS):
            block = tile[start : start + BLOCK_ROWS]
            yield from self._candidates(block, n_first, room.first(len(block)))

    def _candidates(self, tile: Tile, n_first: int, room: Room) -> Iterator[Candidates]:
        """Yield the candidates of each query of a few."""
        n_rows, n_models, n_gallery = tile.shape
        tables, layout = self.tables, self.reader.layout
        best, top = self._read(tile, n_first, room)
        context = self.reader.context(best, room.entropies)
        # One direction after the other: a product of one row reads them several times faster so.
        shares = np.stack([room.columns[:, k] @ own.T for k, own in enumerate(tables.topics)], 1)
        bars, n_level = last_of_first(top, MISSING), np.empty(n_models, np.int32)
        mask, chosen = np.empty(n_gallery, np.uint8), np.empty(n_gallery + 1, np.int32)
        for b in range(n_rows):
            width = self.loops.choose(room.evidence[b], bars[b], n_first, n_level, mask, chosen)
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
                shares[b],
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

    def _read(
        self, tile: Tile, n_first: int, room: Room
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read rows; return the best scores and the best evidence of each, (B, K, M) descending."""
        tables, (n_rows, n_models, n_gallery) = self.tables, tile.shape
        n_best = min(N_TOP, n_gallery)
        best, first = (
            np.empty((n_rows, n_models, 2 * (n + NEAR)), np.float32) for n in (n_best, n_first)
        )
        raw = np.empty(n_gallery, np.int32)
        highest = np.empty(min(n_gallery, 4 * n_best), np.int32)
        work = raw, raw.view(np.float32), highest
        n_crowded = self.loops.read_rows(
            tile.view(np.int32), tables.mean, tables.std, *room, best, first, *work, n_best, n_first
        )
        if n_crowded:  # too many are level
            return descending(room.rows, n_best), descending(room.evidence, n_first)
        return _descending(best, n_best), _descending(first, n_first)


def _descending(collected: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return the n best of each row of few (..., M), descending."""
    n_most = int((collected > MISSING).sum(axis=-1).max())
    ordered = np.sort(collected[..., : max(n, n_most)], axis=-1)
    return np.ascontiguousarray(ordered[..., ::-1][..., :n])


class Room(NamedTuple):
    """What ``row_loops.read_rows`` writes of a few queries, in its order."""

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
        return Room._make(part[:n_rows] for part in self)


@dataclass(frozen=True, eq=False)
class GalleryTables:
    """What a gallery's bank and neighbours say, candidate by candidate; see ``cell_loops.py``."""

    families: NDArray[np.int64]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    sums: NDArray[np.float64]
    steps: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    topics: NDArray[np.float32]
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
        topics = Topics(np.empty((n_models, 0, n_gallery), np.float32))
        thresholds = np.empty((0, n_models, n_gallery), np.float32)
        if bank is not None:
            topics, thresholds = bank.topics, bank.reverse_ranks.thresholds
        return cls(
            families=np.array([families.index(f) if f in made else -1 for f in FAMILIES]),
            mean=empty if bank is None else bank.statistics.mean,
            std=empty if bank is None else bank.statistics.std,
            sums=log_factorials(n_gallery),
            steps=np.log([1] if bank is None else bank.reverse_ranks.ranks).astype(np.float32),
            thresholds=np.ascontiguousarray(thresholds.transpose(2, 1, 0)),
            topics=topics.directions,
            directions=np.ascontiguousarray(topics.directions.transpose(2, 0, 1)),
            direction_sums=topics.sums,
            products=topics.products,
            nearest=nearest,
            n_near=(nearest < n_gallery).sum(axis=1).astype(np.int32),
        )
