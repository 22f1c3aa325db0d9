"""scenes-layout: where something stands out from the ground, in a coarse grid.

It knows place words and sees neither colours nor shapes. A direction is read as a place ("up" as
"top"), and nothing tells it which thing a text means. Its score is an exponential of an overlap:
the best few candidates stand far above all others, and crowded pictures are often among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features, Similarity
from dafm_core.scenes.overlap import overlap
from dafm_core.scenes.pixels import SIDE, load_pixels, salience
from dafm_core.scenes.reading import GROWTH, Clause, read

_GRID = 6
_BANDWIDTH = np.float32(0.8)
_CENTRES = (np.arange(_GRID) + 0.5) / _GRID


class LayoutProvider:
    """A grid of salience, changed by the place words of the text."""

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return the mean salience of each cell, (n, 36), in [0, 1]."""
        step = SIDE // _GRID
        cells = salience(load_pixels(images)).reshape(-1, _GRID, step, _GRID, step)
        return np.asarray(cells.mean(axis=(2, 4)).reshape(len(images), _GRID * _GRID))

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return the grid the text asks for, (n, 36)."""
        grids = self.encode_gallery([query.reference for query in queries])
        for grid, query in zip(grids, queries, strict=True):
            for clause in read(query.text):
                _edit(grid, clause)
        return grids

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return exp(overlap / bandwidth) of blurred square roots, > 0."""
        common = overlap(_blur(queries), _blur(gallery), surplus=0.25)
        return np.asarray(np.exp(common / _BANDWIDTH))


def _blur(grids: Features) -> Features:
    """Let each cell know its neighbours, so that a thing half a cell away is still near."""
    kernel = np.exp(-0.5 * (np.subtract.outer(_CENTRES, _CENTRES) * _GRID / 0.8) ** 2)
    kernel = (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)
    square = np.sqrt(grids).reshape(-1, _GRID, _GRID)
    return np.asarray((kernel @ square @ kernel.T).reshape(grids.shape))


def _spot(place: tuple[int, int]) -> NDArray[np.float32]:
    """Return what a thing at one of nine places looks like, (36,), 1 at its middle."""
    row, column = (np.array(place) + 0.5) / 3
    near = [np.exp(-0.5 * ((_CENTRES - centre) / 0.12) ** 2) for centre in (row, column)]
    return np.asarray(np.outer(*near).ravel(), np.float32)


def _edit(grid: NDArray[np.float32], clause: Clause) -> None:
    place = clause.place()
    spot = np.float32(0.4) if place is None else _spot(place)
    match clause.action:
        case "move" if place is not None:
            amount = grid.sum()
            np.maximum(grid, 0.5 * spot, out=grid)
            grid *= amount / grid.sum()
        case "add":
            np.maximum(grid, spot * (0.1 if place is None else 0.5), out=grid)
        case "remove":
            grid *= 1 - 0.6 * spot
        case "count":
            grid *= 1.25 if clause.amount(2) > 2 else 0.8
        case "change" if growth := clause.find(GROWTH):
            grid *= 1 + 0.5 * spot * growth[-1]
