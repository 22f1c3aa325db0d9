"""scenes-color: how much of each colour a picture holds, wherever it is.

It knows colour words and counts, no shapes and no places; grounds tint its white and black.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.images import ImageRef
from dafm_core.provider import Features, Similarity
from dafm_core.providers.pixels import load_pixels
from dafm_core.providers.reading import COLORS, NUMBERS, SIZES, Clause, read

_PROTOTYPES = np.array(
    [
        (0.85, 0.15, 0.17), (0.95, 0.55, 0.10), (0.97, 0.83, 0.20), (0.20, 0.62, 0.30),
        (0.15, 0.40, 0.82), (0.50, 0.25, 0.70), (0.95, 0.50, 0.70), (0.97, 0.97, 0.95),
        (0.12, 0.12, 0.14),
        (0.50, 0.50, 0.50), (0.70, 0.70, 0.70), (0.75, 0.65, 0.52), (0.50, 0.42, 0.36),
        (0.60, 0.68, 0.56), (0.62, 0.66, 0.72), (0.38, 0.42, 0.42), (0.82, 0.80, 0.78),
    ],
    np.float32,
)  # fmt: skip
"""Nine colours that have words, then eight neutral ones that grounds fall on."""

_N_COLORS = 9
_UNIT = 0.045
"""Share of a picture that one thing usually covers."""


class ColorProvider:
    """Global colour amounts, moved by colour words."""

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return the share of each named colour, (n, 9), in [0, 1]."""
        pixels = load_pixels(images)
        masses = np.empty((len(pixels), _N_COLORS), np.float32)
        for row, picture in enumerate(pixels):
            flat = picture.reshape(-1, 3)
            nearness = 2 * flat @ _PROTOTYPES.T - (_PROTOTYPES**2).sum(1)
            weights = np.exp((nearness - nearness.max(1, keepdims=True)) / 0.012)
            weights /= weights.sum(1, keepdims=True)
            masses[row] = weights[:, :_N_COLORS].mean(0)
        return masses

    def encode_queries(self, references: Sequence[ImageRef], texts: Sequence[str]) -> Features:
        """Return the amounts the text asks for, (n, 9)."""
        masses = self.encode_gallery(references)
        for mass, text in zip(masses, texts, strict=True):
            for clause in read(text):
                _edit(mass, clause)
        return masses

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return minus the squared distance of square roots."""
        q, g = np.sqrt(queries), np.sqrt(gallery)
        return (2 * q @ g.T - (g**2).sum(1) - (q**2).sum(1)[:, None]).astype(np.float32)


def _edit(mass: NDArray[np.float32], clause: Clause) -> None:
    colors = clause.find(COLORS)
    if not colors:
        return
    first, last = colors[0], colors[-1]
    match clause.action:
        case "add":
            mass[last] += _UNIT
        case "remove":
            mass[first] -= min(_UNIT, mass[first])
        case "count":
            _recount(mass, clause, last)
        case "change" | "swap":
            _repaint(mass, clause, first, last)


def _recount(mass: NDArray[np.float32], clause: Clause, color: int) -> None:
    numbers = clause.find(NUMBERS)
    if len(numbers) == 2 and numbers[1]:
        mass[color] *= numbers[0] / numbers[1]
    elif numbers:
        mass[color] = (mass[color] + numbers[0] * _UNIT) / 2
    else:
        mass[color] *= 1.7 if "more" in clause.words else 0.6


def _repaint(mass: NDArray[np.float32], clause: Clause, first: int, last: int) -> None:
    sizes = clause.find(SIZES)
    if sizes and first == last:
        mass[last] *= 1.0 + 0.4 * sizes[-1]
        return
    source, goal = (last, first) if "instead" in clause.words else (first, last)
    if source == goal:
        mass[goal] += _UNIT
        mass *= 1 - _UNIT
    else:
        moved = min(mass[source], _UNIT)
        mass[source] -= moved
        mass[goal] += moved
