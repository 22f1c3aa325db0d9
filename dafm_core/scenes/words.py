"""scenes-words: does the picture show what the text asks for, colour by colour and place by place?

It looks for coloured patches in nine places and checks the text's statements one by one: a colour
at a place, a colour at all, a number of a colour. Of the reference it remembers only which colours
were there and how many patches of each. Its score is the sum of checks passed, so
that many candidates tie or nearly tie, and a text without a colour word it knows asks for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features, Similarity
from dafm_core.scenes.pixels import N_COLORS, color_grid
from dafm_core.scenes.reading import COLORS, Clause, read

_MOST = 4
_PLACES, _NUMBERS = slice(0, 9), slice(9, 10 + _MOST)
"""Columns of a fact table: nine places, then none, one, ... up to ``_MOST`` patches."""


class WordsProvider:
    """Facts found in a picture, checked against facts asked for."""

    geometry = "dot"

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return, for each colour, whether it is at each place and how often, (n, 9 * 14)."""
        grid = color_grid(images).reshape(len(images), 9, N_COLORS).transpose(0, 2, 1)
        there = 1 / (1 + np.exp((0.12 - grid) / 0.02))  # (n, colour, place)
        number = there.sum(axis=2, keepdims=True) - np.arange(_MOST + 1)
        facts = np.concatenate([there, np.exp(-0.5 * (number / 0.5) ** 2)], axis=2)
        return facts.reshape(len(images), N_COLORS * (10 + _MOST)).astype(np.float32)

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return the weight of each fact the text asks for, (n, 9 * 14)."""
        references = [query.reference for query in queries]
        found = self.encode_gallery(references).reshape(-1, N_COLORS, 10 + _MOST)
        wanted = np.zeros_like(found)
        wanted[:, :, _NUMBERS] = 0.3 * found[:, :, _NUMBERS]
        for asked, seen, query in zip(wanted, found, queries, strict=True):
            for clause in read(query.text):
                _ask(asked, seen, clause)
        return wanted.reshape(len(queries), -1)

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return the weighted number of facts found."""
        return (queries @ gallery.T).astype(np.float32)


def _ask(asked: NDArray[np.float32], seen: NDArray[np.float32], clause: Clause) -> None:
    """Add what a clause states to the facts asked for."""
    source, goal = clause.exchange(COLORS)
    if goal is None:
        return
    place = clause.place()
    if place is not None and clause.action != "remove":
        asked[goal, 3 * place[0] + place[1]] += 1
    have = seen[:, _PLACES].sum(axis=1)
    match clause.action:
        case "add":
            _ask_number(asked, goal, have[goal] + 1)
        case "remove":
            _ask_number(asked, goal, have[goal] - 1)
        case "count":
            _ask_number(asked, goal, clause.amount(float(have[goal])))
        case "change" | "swap" if source is not None and source != goal:
            _ask_number(asked, goal, have[goal] + 1)
            _ask_number(asked, source, have[source] - 1)


def _ask_number(asked: NDArray[np.float32], color: int, number: float) -> None:
    asked[color, _NUMBERS] = 0
    asked[color, 9 + min(max(round(number), 0), _MOST)] = 1
