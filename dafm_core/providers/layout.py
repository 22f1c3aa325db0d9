"""scenes-layout: where something stands out from the ground, in a coarse grid.

It knows place words and sees neither colours nor shapes; direction words are read as places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.images import ImageRef
from dafm_core.provider import Features, Similarity
from dafm_core.providers.pixels import SIDE, load_pixels, salience
from dafm_core.providers.reading import NUMBERS, SIZES, Clause, read

_GRID = 6
_BUMP = 0.05


class LayoutProvider:
    """Grid of salience, moved by place words."""

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return the mean salience of each cell, (n, 36)."""
        maps = salience(load_pixels(images))
        step = SIDE // _GRID
        cells = maps.reshape(len(maps), _GRID, step, _GRID, step).mean((2, 4))
        return cells.reshape(len(maps), -1).astype(np.float32)

    def encode_queries(self, references: Sequence[ImageRef], texts: Sequence[str]) -> Features:
        """Return the grid the text asks for, (n, 36)."""
        grids = self.encode_gallery(references)
        for grid, text in zip(grids, texts, strict=True):
            for clause in read(text):
                _edit(grid, clause)
        return grids

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return the cosine of blurred square roots."""
        q, g = _blur(queries), _blur(gallery)
        return (2 * q @ g.T - (g**2).sum(1) - (q**2).sum(1)[:, None]).astype(np.float32)


def _blur(grids: Features) -> Features:
    square = np.sqrt(np.maximum(grids, 0)).reshape(-1, _GRID, _GRID)
    return (_SMOOTH @ square @ _SMOOTH).reshape(len(grids), -1)


def _smoothing() -> NDArray[np.float32]:
    offset = np.subtract.outer(np.arange(_GRID), np.arange(_GRID))
    kernel = np.exp(-0.5 * (offset / 0.8) ** 2)
    return (kernel / kernel.sum(1, keepdims=True)).astype(np.float32)


_SMOOTH = _smoothing()


def _spot(place: tuple[int, int]) -> NDArray[np.float32]:
    centre = (np.arange(_GRID) + 0.5) / _GRID
    row, column = (0.5 + place[0] / 3, 0.5 + place[1] / 3)
    bump = np.outer(
        np.exp(-0.5 * ((centre - row) / 0.12) ** 2), np.exp(-0.5 * ((centre - column) / 0.12) ** 2)
    )
    return bump.ravel().astype(np.float32)


def _edit(grid: NDArray[np.float32], clause: Clause) -> None:
    place = clause.place()
    spot = None if place is None else _spot(place)
    match clause.action:
        case "move" if spot is not None:
            before = grid.sum()
            np.maximum(grid, 0.5 * spot, out=grid)
            grid *= before / max(grid.sum(), 1e-6)
        case "add" if spot is not None:
            np.maximum(grid, 0.5 * spot, out=grid)
        case "remove" if spot is not None:
            grid *= 1 - spot
        case "add":
            grid += _BUMP
        case "remove":
            grid *= 0.75
        case "count":
            numbers = clause.find(NUMBERS)
            grid *= 1.2 if "more" in clause.words or (numbers and numbers[0] > 2) else 0.85
        case "change":
            sizes = clause.find(SIZES)
            if sizes and spot is not None:
                grid *= 1 + 0.4 * sizes[-1] * spot
