"""scenes-color: how much of each colour a picture holds, wherever it is.

It knows nine colours and their words, no shapes and no places. Pale and dark grounds pass for
white and black. Its score, the overlap of what is wanted with what is there, hardly minds a
surplus: pictures full of colour are close to every query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features, Similarity
from dafm_core.scenes.overlap import overlap
from dafm_core.scenes.pixels import color_grid
from dafm_core.scenes.reading import COLORS, GROWTH, Clause, read

_THING = 0.04
"""Share of a picture that one thing usually covers."""


class ColorProvider:
    """Amounts of colour, changed by the colour words of the text."""

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return the share of each named colour, (n, 9), in [0, 1]."""
        return np.asarray(color_grid(images).mean(axis=(1, 2)))

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return the shares the text asks for, (n, 9)."""
        shares = self.encode_gallery([query.reference for query in queries])
        for share, query in zip(shares, queries, strict=True):
            for clause in read(query.text):
                _edit(share, clause)
        return shares

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return the overlap of square roots, which tell small amounts apart."""
        return overlap(np.sqrt(queries), np.sqrt(gallery), surplus=0.08)


def _edit(share: NDArray[np.float32], clause: Clause) -> None:
    source, goal = clause.exchange(COLORS)
    if goal is None:
        return
    match clause.action:
        case "add":
            share[goal] += _THING
        case "remove":
            share[goal] -= _one_thing(share[goal])
        case "count":
            have = max(1, round(share[goal] / _THING))
            share[goal] = max(share[goal], _THING) * clause.amount(have) / have
        case "change" if growth := clause.find(GROWTH):
            share[goal] += 0.5 * growth[-1] * _one_thing(share[goal])
        case "change" | "swap" if source is not None:
            moved = _one_thing(share[source])
            share[source] -= moved
            share[goal] += moved
        case "change":
            share[goal] += _THING


def _one_thing(share: float) -> float:
    """Return the part of a colour's share that one thing holds: all of it if there is little."""
    return share if share < 1.6 * _THING else _THING
