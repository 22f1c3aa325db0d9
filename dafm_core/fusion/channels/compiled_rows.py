"""Whole rows of a few queries by machine code, and the channels of any of their candidates.

What depends on the gallery alone is laid out candidate by candidate, once. Which candidates are
looked at is not decided here: ``opening.py`` takes those that some model puts first,
``examples.py`` those that a fusion learns from. Rows of a shortlist are not read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Tile
from dafm_core.fusion.channels.candidates import descending, last_of_first
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
from dafm_core.ground.product_loops import fours

BLOCK_BYTES: Final = 10 << 20
"""Scores read at a time: what is made of them, four times as much, stays in the outermost cache."""


class CompiledRows:
    """Reads rows of one gallery.

    Parameters
    ----------
    reader : ChannelReader
    loops : RowLoops
    """

    def __init__(self, reader: ChannelReader, loops: RowLoops) -> None:
        self.reader, self.loops = reader, loops
        self.tables = GalleryTables.of(reader)

    def read(self, tile: Tile, n_first: int) -> Iterator[tuple[slice, ReadRows]]:
        """Yield rows of a tile (B, K, N), a few at a time; each is gone when the next comes.

        Parameters
        ----------
        n_first : int
            Best candidates of each model whose ranks are exact.
        """
        tile = np.ascontiguousarray(tile, np.float32)
        n_block = max(4, BLOCK_BYTES // (4 * tile.shape[1] * tile.shape[2]))
        room = Room.of(fours(min(n_block, len(tile))), *tile.shape[1:])
        for start in range(0, len(tile), n_block):
            rows = slice(start, min(start + n_block, len(tile)))
            yield rows, self._read(tile[rows], n_first, room)

    def _read(self, tile: Tile, n_first: int, whole: Room) -> ReadRows:
        room = whole.first(len(tile))
        best, top, n_level = self._best(tile, n_first, room)
        return ReadRows(
            reading=self,
            tile=tile,
            room=room,
            top=top,
            n_level=n_level,
            context=self.reader.context(best, room.entropies),
            shares=self._shares(whole.columns, len(tile)),
        )

    def _shares(self, columns: NDArray[np.float32], n_rows: int) -> NDArray[np.float32]:
        """Return what the first rows (R, K, N) have of each direction, (n_rows, K, H)."""
        topics = self.tables.topics
        n_models, n_topics, _ = topics.shape
        if n_rows == 1:  # one direction after the other is read several times faster so
            return np.stack([columns[:1, k] @ own.T for k, own in enumerate(topics)], 1)
        some = columns[: fours(n_rows)]
        some[n_rows:] = 0  # of earlier queries, or of nothing
        shares = np.empty((n_models, len(some), fours(n_topics)), np.float32)
        self.loops.write_shares(some.reshape(len(some), -1), topics, shares)
        return np.ascontiguousarray(shares[:, :n_rows, :n_topics].swapaxes(0, 1))

    def _best(
        self, tile: Tile, n_first: int, room: Room
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
        """Read rows; return the best scores and the best evidence of each, (B, K, M) descending,
        and how many are level with the last of that (B, K).
        """
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
            best, first = descending(room.rows, n_best), room.evidence
            top = descending(first, n_first)
        else:
            best, top = _descending(best, n_best), _descending(first, n_first)
        bars = last_of_first(top, MISSING)[:, :, None]
        n_level = (first == bars).sum(axis=2, dtype=np.int32)
        return best, top, n_level


def _descending(collected: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return the n best of each row of few (..., M), descending."""
    n_most = int((collected > MISSING).sum(axis=-1).max())
    ordered = np.sort(collected[..., : max(n, n_most)], axis=-1)
    return np.ascontiguousarray(ordered[..., ::-1][..., :n])


@dataclass(frozen=True, eq=False)
class ReadRows:
    """Rows of a few queries.

    Parameters
    ----------
    reading : CompiledRows
    tile : ndarray of shape (B, K, N), float32
        Raw scores.
    room : Room
    top : ndarray of shape (B, K, M), float32
        Each model's best evidence, descending.
    n_level : ndarray of shape (B, K), int32
        Candidates that are level with the last of it that has a score.
    context : ndarray of shape (B, D), float32
    shares : ndarray of shape (B, K, H), float32
        Of the bank's topics.
    """

    reading: CompiledRows
    tile: Tile
    room: Room
    top: NDArray[np.float32]
    n_level: NDArray[np.int32]
    context: NDArray[np.float32]
    shares: NDArray[np.float32]

    def channels(
        self, b: int, chosen: NDArray[np.int32], n_level: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Return the channels of some candidates of one query, (C, W); once a query.

        Parameters
        ----------
        chosen : ndarray of shape (W,), int32
        n_level : ndarray of shape (K,), int32
            Candidates that are level with the last of each model's best.
        """
        reading, room = self.reading, self.room
        tables, layout, present = reading.tables, reading.reader.layout, reading.reader.present
        shape = len(layout.families), len(layout.providers), len(chosen)
        channels = np.zeros(shape, np.float32)
        reading.loops.write_channels(
            room.rows[b],
            room.columns[b],
            room.evidence[b],
            room.differ[b],
            room.missing[b],
            room.n_missing[b],
            room.starts[b],
            self.top[b],
            n_level,
            self.shares[b],
            chosen,
            tables.families,
            present,
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
        if "minmax" in layout.families:
            scaled = minmax_rows(self.tile[b])[:, chosen]
            known = np.isfinite(self.tile[b][:, chosen])
            channels[layout.families.index("minmax"), present] = np.where(known, scaled, 0)
        return channels.reshape(layout.n_channels, -1)


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
