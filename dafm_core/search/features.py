"""One provider's features of the images that are there: parts on disk, read as one array."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.half_precision import widen
from dafm_core.search.code_loops import code_loops

BLOCK_BYTES: Final = 64 << 20
"""Memory of one block of features, as float32."""


@dataclass(frozen=True, eq=False)
class GalleryFeatures:
    """Features of N images, in the order of the gallery, most of it on disk.

    Parameters
    ----------
    parts : sequence of ndarray of shape (n, ...)
        Memory maps, float16 or float32.
    rows : sequence of ndarray of int64
        Which rows of each part are there, ascending; the gallery is their concatenation.
    """

    parts: Sequence[NDArray[Any]]
    rows: Sequence[NDArray[np.int64]]

    def __len__(self) -> int:
        return sum(map(len, self.rows))

    @property
    def width(self) -> tuple[int, ...]:
        """Shape of one image's features."""
        return self.parts[0].shape[1:]

    @property
    def n_bytes(self) -> int:
        """Memory of everything as float32."""
        return 4 * len(self) * int(np.prod(self.width, dtype=np.int64))

    def take(self, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the features of some images, (n, ...) float32."""
        if len(self.parts) == 1:
            rows = self.rows[0]
            chosen = columns if len(rows) == len(self.parts[0]) else rows[columns]
            return _wide(np.asarray(self.parts[0])[chosen])
        out = np.empty((len(columns), *self.width), np.float32)
        start = 0
        for part, rows in zip(self.parts, self.rows, strict=True):
            here = (columns >= start) & (columns < start + len(rows))
            out[here] = _wide(np.asarray(part)[rows[columns[here] - start]])
            start += len(rows)
        return out

    def scores(self, columns: NDArray[np.int64], query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the inner products of some images with a query, (n,).

        By machine code where something has loaded that already: images need not be copied then.
        """
        loops = code_loops() if "numba" in sys.modules else None
        if loops is None:
            return self.take(columns) @ query
        out, start = np.empty(len(columns), np.float32), 0
        for part, rows in zip(self.parts, self.rows, strict=True):
            here = (columns >= start) & (columns < start + len(rows))
            chosen = columns if here.all() else columns[here]
            places = chosen - start if len(rows) == len(part) else rows[chosen - start]
            found = np.empty(len(places), np.float32)
            if part.dtype == np.float16:
                words = np.empty(len(query), np.int32)
                bits, room = np.asarray(part).view(np.int16), words.view(np.float32)
                loops.write_half_products(bits, places, query, words, room, found)
            else:
                loops.write_products(np.asarray(part), places, query, found)
            out[here] = found
            start += len(rows)
        return out

    def blocks(self, size: int | None = None) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield (columns, features): the whole gallery, a block at a time, float32.

        Parameters
        ----------
        size : int, optional
            Images of a block; by default as many as ``BLOCK_BYTES`` holds.
        """
        size = size or max(1, BLOCK_BYTES // max(1, self.n_bytes // max(1, len(self))))
        start = 0
        for part, rows in zip(self.parts, self.rows, strict=True):
            whole = len(rows) == len(part)
            for first in range(0, len(rows), size):
                chosen = rows[first : first + size]
                stop = chosen[-1] + 1
                block = np.asarray(part)[chosen[0] : stop] if whole else np.asarray(part)[chosen]
                yield slice(start, start + len(chosen)), _wide(block)
                start += len(chosen)

    def whole(self) -> NDArray[np.float32]:
        """Return everything in memory, (N, ...) float32; a map where that is the same."""
        part = self.parts[0]
        if len(self.parts) == 1 and part.dtype == np.float32 and len(self.rows[0]) == len(part):
            return part
        out = np.empty((len(self), *self.width), np.float32)
        for columns, block in self.blocks():
            out[columns] = block
        return out


def _wide(features: NDArray[Any]) -> NDArray[np.float32]:
    """Return features as float32: themselves, where they are."""
    if features.dtype == np.float32:
        return features
    out = np.empty(features.shape, np.float32)
    widen(features, out)
    return out
