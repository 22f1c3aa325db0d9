"""Candidates that some model puts first, with their channels, by machine code.

In NumPy: ``candidates.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dafm_core.fusion.base import Tile
from dafm_core.fusion.channels.candidates import Candidates, last_of_first
from dafm_core.fusion.channels.compiled import RowLoops
from dafm_core.fusion.channels.compiled_rows import CompiledRows
from dafm_core.fusion.channels.row_loops import MISSING
from dafm_core.fusion.channels.view import ChannelReader


class CompiledOpener:
    """Chooses candidates and makes their channels by machine code."""

    def __init__(self, reader: ChannelReader, loops: RowLoops) -> None:
        self.reader, self.loops = reader, loops
        self.rows = CompiledRows(reader, loops)

    def __call__(self, tile: Tile, n_first: int) -> Iterator[Candidates]:
        """Yield the candidates of each query: every model's ``n_first``."""
        _, n_models, n_gallery = tile.shape
        n_level = np.empty(n_models, np.int32)
        mask, chosen = np.empty(n_gallery, np.uint8), np.empty(n_gallery + 1, np.int32)
        for _, rows in self.rows.read(tile, n_first):
            evidence, bars = rows.room.evidence, last_of_first(rows.top, MISSING)
            for b, raw in enumerate(rows.tile):
                width = self.loops.choose(evidence[b], bars[b], n_first, n_level, mask, chosen)
                some = chosen[:width].astype(np.int64)
                made = rows.channels(b, chosen[:width], n_level)[None]
                context = rows.context[b : b + 1]
                yield Candidates(self.reader, raw[None, :, some], some, made, context)
