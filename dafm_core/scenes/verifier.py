"""scenes-verifier: does the candidate hold the very things that the text makes of the reference?

It looks at one pair of pictures at a time. In each it finds the things with their colour, shape,
size and place, edits those of the reference as the text says, and matches what is wanted with what
is there, thing by thing. That takes far longer than comparing two vectors, so it is asked about a
shortlist only. What it does not see: things that touch, or hardly differ from the ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query
from dafm_core.scenes.pixels import N_COLORS, SIDE, load_pixels, name_colors, salience
from dafm_core.scenes.reading import COLORS, GROWTH, SHAPES, SIZES, Clause, read
from dafm_core.scenes.shape import count_shapes, label_blobs

_N_SHAPES: Final = 7
_SMALLEST: Final = 12
"""Pixels of the smallest thing that counts."""
_UNMATCHED: Final = 1.6
"""What a thing costs that is wanted and not there, or there and not wanted."""

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Thing:
    """One thing, or what a text says of one; None where it does not say."""

    color: Vector | None
    shape: Vector | None
    size: Vector | None
    place: Vector | None
    """Row and column in [0, 1]."""


class VerifierProvider:
    """Matches the things wanted with the things there, pair by pair."""

    def score_pairs(
        self, queries: Sequence[Query], candidates: Sequence[Sequence[ImageRef]]
    ) -> list[Vector]:
        """Return minus the cost of the best match of every candidate, one array per query."""
        return [
            np.array([-_cost(_wanted(query), _things(c)) for c in images], np.float32)
            for query, images in zip(queries, candidates, strict=True)
        ]


@lru_cache(maxsize=4096)
def _things(image: ImageRef) -> tuple[_Thing, ...]:
    """Return the things of a picture."""
    pixels = load_pixels([image])
    labels = label_blobs(salience(pixels) > 0.8)
    things = []
    for label in np.unique(labels[labels > 0]).tolist():
        mask = labels == label
        if mask.sum() < _SMALLEST:
            continue
        table = count_shapes(mask).reshape(_N_SHAPES, 3)
        rows, columns = np.nonzero(mask[0])
        things.append(
            _Thing(
                color=name_colors(pixels[mask]).mean(axis=0),
                shape=table.sum(axis=1),
                size=table.sum(axis=0),
                place=np.array([rows.mean(), columns.mean()]).astype(np.float32) / np.float32(SIDE),
            )
        )
    return tuple(things)


@lru_cache(maxsize=64)
def _wanted(query: Query) -> tuple[_Thing, ...]:
    """Return the things of the reference, edited as the text says."""
    things = list(_things(query.reference))
    for clause in read(query.text):
        _edit(things, clause)
    return tuple(things)


def _edit(things: list[_Thing], clause: Clause) -> None:
    """Change the things as one clause says."""
    old_color, new_color = clause.exchange(COLORS)
    old_shape, new_shape = clause.exchange(SHAPES)
    sizes, place = clause.find(SIZES), _place(clause)
    said = _Thing(
        color=_one_hot(new_color, N_COLORS),
        shape=_one_hot(new_shape, _N_SHAPES),
        size=_one_hot(sizes[-1] if sizes else None, 3),
        place=place,
    )
    alike = replace(said, place=None)
    match clause.action:
        case "add":
            things.append(said)
        case "remove":
            _drop(things, alike)
        case "count":
            same = [thing for thing in things if _unlike(alike, thing) < 0.5]
            wanted = round(clause.amount(len(same)))
            things.extend([alike] * (wanted - len(same)))
            for _ in range(len(same) - wanted):
                _drop(things, alike)
        case "move" if place is not None:
            _change(things, alike, place=place)
        case "swap":
            old = replace(alike, shape=_one_hot(old_shape, _N_SHAPES))
            _change(things, old, shape=said.shape)
        case "change":
            if old_color is not None or (old_shape is None and new_color is not None and not sizes):
                old = _Thing(_one_hot(old_color, N_COLORS), said.shape, said.size, None)
                _change(things, old, color=said.color)
            elif old_shape is not None:
                old = _Thing(said.color, _one_hot(old_shape, _N_SHAPES), said.size, None)
                _change(things, old, shape=said.shape)
            elif sizes:
                _change(things, replace(alike, size=None), size=said.size)
            elif growth := clause.find(GROWTH):
                _grow(things, replace(alike, size=None), growth[-1])


def _place(clause: Clause) -> Vector | None:
    place = clause.place()
    return None if place is None else ((np.array(place) + 0.5) / 3).astype(np.float32)


def _one_hot(which: int | None, width: int) -> Vector | None:
    return None if which is None else np.eye(width, dtype=np.float32)[which]


def _nearest(things: list[_Thing], like: _Thing) -> int | None:
    """Return which thing a description means: the one that is least unlike it."""
    if not things:
        return None
    return int(np.argmin([_unlike(like, thing) for thing in things]))


def _drop(things: list[_Thing], like: _Thing) -> None:
    if (which := _nearest(things, like)) is not None:
        del things[which]


def _change(things: list[_Thing], like: _Thing, **new: Vector | None) -> None:
    if (which := _nearest(things, like)) is not None:
        things[which] = replace(things[which], **new)


def _grow(things: list[_Thing], like: _Thing, step: int) -> None:
    which = _nearest(things, like)
    if which is not None and (size := things[which].size) is not None:
        grown = np.zeros_like(size)
        np.add.at(grown, np.clip(np.arange(3) + step, 0, 2), size)
        things[which] = replace(things[which], size=grown)


def _unlike(wanted: _Thing, there: _Thing) -> float:
    """Return how much two things differ in what is said of both, in [0, about 3]."""
    cost = 0.0
    for weight, a, b in (
        (1.0, wanted.color, there.color),
        (0.8, wanted.shape, there.shape),
        (0.5, wanted.size, there.size),
    ):
        if a is not None and b is not None:
            cost += weight * float(np.abs(a - b).sum()) / 2
    if wanted.place is not None and there.place is not None:
        cost += min(1.0, 2.5 * float(np.linalg.norm(wanted.place - there.place)))
    return cost


def _cost(wanted: Sequence[_Thing], there: Sequence[_Thing]) -> float:
    """Return what it costs to match the things, cheapest pairs first."""
    pairs = sorted((_unlike(a, b), i, j) for i, a in enumerate(wanted) for j, b in enumerate(there))
    free_wanted, free_there, cost = set(range(len(wanted))), set(range(len(there))), 0.0
    for unlike, i, j in pairs:
        if i in free_wanted and j in free_there and unlike < 2 * _UNMATCHED:
            free_wanted.remove(i)
            free_there.remove(j)
            cost += unlike
    return cost + _UNMATCHED * (len(free_wanted) + len(free_there))
