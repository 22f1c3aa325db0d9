"""The candidates that a fusion learns from, with their channels: by NumPy, or by machine code.

Both choose the same candidates, and make the same numbers but for rounding.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Tile
from dafm_core.fusion.channels.cells import channels_at
from dafm_core.fusion.channels.compiled import RowLoops
from dafm_core.fusion.channels.compiled_rows import CompiledRows
from dafm_core.fusion.channels.drawing import Draw
from dafm_core.fusion.channels.view import ChannelReader

N_EXACT: Final = 100
"""Best candidates of each model whose ranks are exact, as when lists are fused; below, those level
to a 256th of a standard deviation share their mean rank.
"""


class Sample(NamedTuple):
    """What a fusion sees of a few queries.

    ``columns`` (B, W), int64, are the candidates; ``log_weight`` (B, W), float32, as ``Draw`` gives
    it; ``channels`` (B, C, W) and ``context`` (B, D), float32.
    """

    columns: NDArray[np.int64]
    log_weight: NDArray[np.float32]
    channels: NDArray[np.float32]
    context: NDArray[np.float32]


class Sampler(Protocol):
    """Draws and looks at candidates of tiles of one gallery."""

    def __call__(self, tile: Tile, wanted: NDArray[np.bool_], kept: NDArray[np.bool_]) -> Sample:
        """Return a sample of a tile (B, K, N); ``wanted`` and ``kept`` (B, N) as in ``Draw``."""


class PlainSampler:
    """By NumPy: any tile, any number of candidates.

    Parameters
    ----------
    reader : ChannelReader
    draw : Draw
    """

    def __init__(self, reader: ChannelReader, draw: Draw) -> None:
        self._reader, self._draw = reader, draw

    def __call__(self, tile: Tile, wanted: NDArray[np.bool_], kept: NDArray[np.bool_]) -> Sample:
        """Return a sample."""
        view = self._reader.read(tile)
        if self._draw.takes_all(tile.shape[2]):
            columns, log_weight = self._draw.all(kept)
        else:
            bars = view.ordered[:, :, -self._draw.n_hard]
            columns, log_weight = self._draw(view.evidence, bars, wanted, kept)
        return Sample(columns, log_weight, channels_at(view, columns), view.context())


class CompiledSampler:
    """By machine code: tiles without a shortlist, and a part of their candidates.

    Parameters
    ----------
    reader : ChannelReader
    draw : Draw
    loops : RowLoops
    """

    def __init__(self, reader: ChannelReader, draw: Draw, loops: RowLoops) -> None:
        self._rows, self._draw = CompiledRows(reader, loops), draw

    def __call__(self, tile: Tile, wanted: NDArray[np.bool_], kept: NDArray[np.bool_]) -> Sample:
        """Return a sample."""
        parts: list[Sample] = []
        n_first = min(max(N_EXACT, self._draw.n_hard), tile.shape[2])
        for rows, read in self._rows.read(tile, n_first):
            evidence, bars = read.room.evidence, read.top[:, :, self._draw.n_hard - 1]
            sure = self._hard(evidence, bars) | wanted[rows]
            draw_around = self._rows.loops.draw_around
            columns, log_weight = self._draw.around(sure & kept[rows], kept[rows], draw_around)
            chosen = columns.astype(np.int32)
            channels = [read.channels(b, chosen[b], read.n_level[b]) for b in range(len(chosen))]
            parts.append(Sample(columns, log_weight, np.stack(channels), read.context))
        return Sample(*(np.concatenate(of_all) for of_all in zip(*parts, strict=True)))

    def _hard(self, evidence: NDArray[np.float32], bars: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which candidates (B, N) are hard."""
        draw, marked = self._draw, np.zeros((len(evidence), evidence.shape[2]), bool)
        done, given = np.empty(len(evidence), bool), np.ascontiguousarray(bars)
        bits = marked.view(np.uint8)
        self._rows.loops.mark_hard(evidence, given, draw.n_hard, draw.place, bits, done)
        if not done.all():
            rest = np.flatnonzero(~done)
            some = marked[rest]
            draw.mark_hard(evidence[rest], bars[rest], some)
            marked[rest] = some
        return marked
