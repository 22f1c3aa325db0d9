"""scenes-words: does the picture show what the text asks for, colour by colour and place by place?

Of the reference it keeps only which colours were there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.images import ImageRef
from dafm_core.provider import Features, Similarity
from dafm_core.providers.color import _PROTOTYPES
from dafm_core.providers.pixels import SIDE, load_pixels
from dafm_core.providers.reading import COLORS, NUMBERS, Clause, read

_N = 9


class WordsProvider:
    """Facts found in a picture, against facts asked for."""

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return found facts: colour in cell (81), colour present (9), how many of a colour (9 x 4)."""
        pixels = load_pixels(images)
        found = np.empty((len(pixels), _N, _N), np.float32)
        third = SIDE // 3
        for row, picture in enumerate(pixels):
            flat = picture.reshape(-1, 3)
            nearness = 2 * flat @ _PROTOTYPES.T - (_PROTOTYPES**2).sum(1)
            label = nearness.argmax(1).reshape(3, third, 3, third)
            for color in range(_N):
                found[row, color] = (label == color).mean((1, 3)).ravel()
        there = 1 / (1 + np.exp((0.1 - found) / 0.02))
        count = there.sum(2)
        present = np.minimum(count, 1)
        number = np.exp(-0.5 * ((count[..., None] - np.arange(1, 5)) / 0.4) ** 2)
        return np.concatenate(
            [there.reshape(len(found), -1), present, number.reshape(len(found), -1)], 1
        ).astype(np.float32)

    def encode_queries(self, references: Sequence[ImageRef], texts: Sequence[str]) -> Features:
        """Return weights of the facts asked for."""
        seen = self.encode_gallery(references)
        wanted = np.zeros_like(seen)
        wanted[:, 81:90] = seen[:, 81:90] - 0.5
        for row, was, text in zip(wanted, seen, texts, strict=True):
            for clause in read(text):
                _ask(row, was, clause)
        return wanted

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return the weighted sum of facts found."""
        return (queries @ gallery.T).astype(np.float32)


def _ask(row: NDArray[np.float32], was: NDArray[np.float32], clause: Clause) -> None:
    colors = clause.find(COLORS)
    place = clause.place()
    cell = None if place is None else (place[0] + 1) * 3 + place[1] + 1
    grid, present, number = row[:81].reshape(9, 9), row[81:90], row[90:].reshape(9, 4)
    counts = was[:81].reshape(9, 9).sum(1)
    if not colors:
        return
    first, last = colors[0], colors[-1]
    if cell is not None and clause.action != "remove":
        grid[last, cell] += 1
    n = round(float(counts[first]))
    match clause.action:
        case "add":
            number[last, min(3, round(float(counts[last])))] += 1
            present[last] = max(present[last], 0.5)
        case "remove":
            if n <= 1:
                present[first] = -1
            else:
                number[first, min(3, n - 2)] += 1
        case "count":
            numbers = clause.find(NUMBERS)
            if numbers:
                number[last, np.clip(numbers[0] - 1, 0, 3)] += 1
        case "change" | "swap":
            source, goal = (last, first) if "instead" in clause.words else (first, last)
            present[goal] = 1
            if source != goal and n <= 1:
                present[source] = -1
