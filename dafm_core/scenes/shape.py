"""scenes-shape: which shapes of which size a picture holds, whatever their colour or place.

It cuts out what stands out from the ground and compares outlines with clean ones: things that touch
are one thing to it, and things that hardly differ from the ground are none. Its score, the overlap
of what is wanted with what is there, hardly minds a surplus: busy pictures are close to every
query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features, Similarity
from dafm_core.scenes.overlap import overlap
from dafm_core.scenes.pixels import load_pixels, salience
from dafm_core.scenes.reading import GROWTH, SHAPES, SIZES, Clause, read

_N_SHAPES = 7
_AREAS = np.log(np.array([42.0, 88.0, 155.0]))
"""Log of the pixels a small, a medium and a large thing cover."""
_LEAST_AREA = 12
_OUTLINES = np.array(
    [
        [0.16, 0.0, 0.03, 0.01],  # circle
        [0.17, 0.0, 0.43, 0.0],  # square
        [0.19, 0.66, 0.01, 0.07],  # triangle
        [0.2, 0.03, 0.11, 0.84],  # star
        [0.19, 0.0, 0.54, 0.0],  # cross
        [0.28, 0.0, 0.03, 0.01],  # ring
        [0.18, 0.41, 0.04, 0.14],  # heart
    ]
)
"""What ``measure_blobs`` says of a clean drawing of each shape, in the order of ``SHAPES``."""

_OUTLINE_WEIGHTS = np.array([9.0, 1.0, 1.0, 1.0])
"""The spread about the centre varies least from blob to blob, so its differences say most."""
_EACH_SIZE = np.eye(3, dtype=np.float32)
_GROWN = {1: _EACH_SIZE[[1, 2, 2]], -1: _EACH_SIZE[[0, 0, 1]]}
"""What small, medium and large things become when they grow or shrink."""
_ANY_SIZE = np.full(3, 1 / 3, np.float32)


class ShapeProvider:
    """Counts of outlines, moved by shape and size words."""

    def encode_gallery(self, images: Sequence[ImageRef]) -> Features:
        """Return soft counts of seven shapes in three sizes, (n, 21)."""
        return count_shapes(salience(load_pixels(images)) > 0.8)

    def encode_queries(self, queries: Sequence[Query]) -> Features:
        """Return the counts the text asks for, (n, 21)."""
        counts = self.encode_gallery([query.reference for query in queries])
        for row, query in zip(counts.reshape(-1, _N_SHAPES, 3), queries, strict=True):
            for clause in read(query.text):
                _edit(row, clause)
        return counts

    def similarity(self, queries: Features, gallery: Features) -> Similarity:
        """Return the overlap of counts: of each shape in each size, of shapes, and of sizes."""
        return overlap(_with_totals(queries), _with_totals(gallery), surplus=0.15)


def _with_totals(counts: Features) -> Features:
    table = counts.reshape(-1, _N_SHAPES, 3)
    return np.concatenate([counts, table.sum(axis=2), table.sum(axis=1)], axis=1)


def count_shapes(masks: NDArray[np.bool_]) -> Features:
    """Return soft counts of shape and size, (n, 21), of masks (n, SIDE, SIDE)."""
    owner, area, outline = measure_blobs(masks)
    distance = ((outline[:, None, :] - _OUTLINES) ** 2) @ _OUTLINE_WEIGHTS
    shape = _softmin(distance / 0.015)
    size = _softmin((np.log(area)[:, None] - _AREAS) ** 2 / 0.06)
    counts = np.zeros((len(masks), _N_SHAPES, 3), np.float32)
    np.add.at(counts, owner, (shape[:, :, None] * size[:, None, :]).astype(np.float32))
    return counts.reshape(len(masks), _N_SHAPES * 3)


def _softmin(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    weight = np.exp(cost.min(1, keepdims=True) - cost)
    return np.asarray(weight / weight.sum(1, keepdims=True))


def measure_blobs(
    masks: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return each blob's picture, its area in pixels, and its outline in four numbers.

    The numbers do not change when a blob turns or grows: its spread about the centre, and how much
    of a three-, four- and five-fold symmetry it has.
    """
    labels = label_blobs(masks)
    picture, row, column = np.nonzero(masks)
    names, blob = np.unique(labels[masks], return_inverse=True)
    area = np.bincount(blob).astype(float)
    z = column + 1j * row
    centre = (np.bincount(blob, z.real) + 1j * np.bincount(blob, z.imag)) / area
    z = z - centre[blob]
    numbers = [np.bincount(blob, np.abs(z) ** 2) / area**2]
    for fold in (3, 4, 5):
        turned, length = z**fold, np.abs(z) ** fold
        moment = np.hypot(np.bincount(blob, turned.real), np.bincount(blob, turned.imag))
        numbers.append(moment / np.maximum(np.bincount(blob, length), 1e-9))
    owner = np.zeros(len(names), np.int64)
    owner[blob] = picture
    large = area >= _LEAST_AREA
    return owner[large], area[large], np.stack(numbers, axis=1)[large]


def label_blobs(masks: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the same number for all pixels of one connected blob, 0 elsewhere."""
    labels = np.arange(1, masks.size + 1, dtype=np.int32).reshape(masks.shape) * masks
    while True:
        before = labels
        for axis in (1, 2):
            labels = _spread(_spread(labels, masks, axis, 1), masks, axis, -1)
        if np.array_equal(before, labels):
            return labels


def _spread(
    labels: NDArray[np.int32], masks: NDArray[np.bool_], axis: int, step: int
) -> NDArray[np.int32]:
    """Carry the largest number along one direction, as far as the mask goes."""
    out = np.moveaxis(labels.copy(), axis, 0)[::step]
    open_ = np.moveaxis(masks, axis, 0)[::step]
    for i in range(1, len(out)):
        np.maximum(out[i], out[i - 1] * open_[i], out=out[i])
    return np.moveaxis(out[::step], 0, axis)


def _edit(counts: NDArray[np.float32], clause: Clause) -> None:
    """Change the counts (shape, size) as a clause says; a thing it cannot name is any thing."""
    source, goal = clause.exchange(SHAPES)
    sizes = clause.find(SIZES)
    size = _EACH_SIZE[sizes[-1]] if sizes else _ANY_SIZE
    named = counts if goal is None else counts[goal : goal + 1]
    match clause.action:
        case "add":
            named += size / len(named)
        case "remove":
            named -= _one_of(named)
        case "count" if goal is not None:
            have = float(named.sum())
            if have < 0.5:
                named += size
            else:
                named *= clause.amount(have) / have
        case "change" | "swap" if source is not None and goal is not None:
            one = _one_of(counts[source])
            counts[source] -= one
            counts[goal] += one
        case "swap" if goal is not None:
            counts -= _one_of(counts)
            counts[goal] += size
        case "change" if sizes:
            one = _one_of(named)
            named += one.sum(axis=1, keepdims=True) * size - one
        case "change" if growth := clause.find(GROWTH):
            one = _one_of(named)
            named += one @ _GROWN[growth[-1]] - one


def _one_of(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the part of the counts that makes one thing, or all if there is less."""
    part: NDArray[np.float32] = counts / max(1.0, float(counts.sum()))
    return part
