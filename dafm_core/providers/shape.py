"""scenes-shape: directions and bends of edges over the whole picture, whatever their colour or place.

Edges add up: a text that asks for another shape adds that shape's own edges, measured on a drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dafm_core.images import ImageRef
from dafm_core.provider import Features, Similarity
from dafm_core.providers.pixels import SIDE, load_pixels, salience
from dafm_core.providers.reading import NUMBERS, SHAPES, SIZES, Clause, read

_N_DIRECTIONS = 12
_BENDS = np.array([-0.25, 0.0, 0.12, 0.3], np.float32)


class ShapeProvider:
    """Edge statistics, moved by shape words."""

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return edge length by direction and bend, (n, D)."""
        return edge_statistics(salience(load_pixels(images)))

    def encode_queries(self, references: Sequence[ImageRef], texts: Sequence[str]) -> Features:
        """Return the statistics the text asks for."""
        statistics = self.encode_gallery(references)
        for row, text in zip(statistics, texts, strict=True):
            for clause in read(text):
                _edit(row, clause)
        return np.maximum(statistics, 0)

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return minus the squared distance of square roots."""
        q, g = np.sqrt(queries), np.sqrt(gallery)
        return (2 * q @ g.T - (g**2).sum(1) - (q**2).sum(1)[:, None]).astype(np.float32)


def edge_statistics(maps: NDArray[np.float32]) -> Features:
    """Return how much edge runs in each direction with each bend, from salience maps (n, S, S)."""
    smooth = _blur(maps)
    dy, dx = np.gradient(smooth, axis=(1, 2))
    strength = np.hypot(dx, dy)
    dyy, dyx = np.gradient(dy, axis=(1, 2))
    _, dxx = np.gradient(dx, axis=(1, 2))
    bend = -(dxx * dy**2 - 2 * dx * dy * dyx + dyy * dx**2) / (strength**3 + 0.003)
    angle = (np.arctan2(dy, dx) % (2 * np.pi)) * (_N_DIRECTIONS / (2 * np.pi))
    low = np.floor(angle).astype(np.int64)
    part = (angle - low).astype(np.float32)
    bends = np.exp(-0.5 * ((bend[..., None] - _BENDS) / 0.1) ** 2)
    bends /= bends.sum(-1, keepdims=True) + 1e-6
    n, n_bends = len(maps), len(_BENDS)
    out = np.zeros((n, _N_DIRECTIONS, n_bends), np.float32)
    image = np.broadcast_to(np.arange(n)[:, None, None], low.shape)
    for shift, weight in ((0, 1 - part), (1, part)):
        direction = (low + shift) % _N_DIRECTIONS
        for b in range(n_bends):
            flat = np.bincount(
                (image * _N_DIRECTIONS + direction).ravel(),
                (strength * weight * bends[..., b]).ravel(),
                n * _N_DIRECTIONS,
            )
            out[:, :, b] += flat.reshape(n, -1)
    return (out.reshape(n, -1) / SIDE).astype(np.float32)


def _blur(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    for axis in (1, 2):
        maps = (np.roll(maps, 1, axis) + 2 * maps + np.roll(maps, -1, axis)) / 4
    return maps


@lru_cache(maxsize=1)
def _templates() -> Features:
    """Return the statistics of one drawn thing of each shape, (7, D)."""
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    corners = lambda n: np.linspace(0, 2 * np.pi, n, endpoint=False) - np.pi / 2  # noqa: E731
    polar = lambda t, r: np.stack([np.cos(t) * r, np.sin(t) * r], 1)  # noqa: E731
    outlines = [
        polar(turns, 1.0),
        polar(corners(4) + np.pi / 4, 1.25),
        polar(corners(3), 1.25),
        polar(corners(10), np.tile([1.3, 0.6], 5)),
        polar(np.pi / 4 + corners(4).repeat(3) + np.tile([-0.46, 0, 0.46], 4), np.tile([1.2, 0.5, 1.2], 4)),
        polar(turns, 1.1),
        np.stack([16 * np.sin(turns) ** 3, -13 * np.cos(turns) + 5 * np.cos(2 * turns) + 2 * np.cos(3 * turns)], 1) / 14,
    ]
    maps = []
    for shape, outline in enumerate(outlines):
        picture = Image.new("L", (SIDE * 4, SIDE * 4))
        draw = ImageDraw.Draw(picture)
        draw.polygon([tuple(p) for p in outline * 21.0 + SIDE * 2], fill=255)
        if shape == SHAPES["ring"]:
            draw.polygon([tuple(p) for p in outline * 10.5 + SIDE * 2], fill=0)
        maps.append(np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255)
    return edge_statistics(np.stack(maps))


def _edit(row: NDArray[np.float32], clause: Clause) -> None:
    shapes = clause.find(SHAPES)
    sizes = clause.find(SIZES)
    templates = _templates()
    if not shapes:
        return
    first, last = templates[shapes[0]], templates[shapes[-1]]
    numbers = clause.find(NUMBERS)
    match clause.action:
        case "add":
            row += last
        case "remove":
            row -= first
        case "count" if len(numbers) == 2:
            row += (numbers[0] - numbers[1]) * last
        case "count":
            row += (0.7 if "more" in clause.words or (numbers and numbers[0] > 1) else -0.7) * last
        case "swap" | "change" if len(shapes) > 1:
            if clause.words[0] in ("a", "an"):
                first, last = last, first
            row += last - first
        case "swap":
            row += last
            row *= 1 - last.sum() / row.sum()
        case "change" if sizes:
            row += 0.4 * sizes[-1] * last
