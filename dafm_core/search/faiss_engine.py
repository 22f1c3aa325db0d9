"""Faiss (the extra ``[faiss]``) as an engine: exact scans of narrow vectors, or inverted lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import StoreError
from dafm_core.ground.files import replacing

FACTORY: Final = {"scan8": "IDMap2,SQ8", "scan16": "IDMap2,SQfp16"}
FEWEST: Final = 640
"""Vectors from which lists are made: of fewer, four bits are too coarse, and all are scanned."""
PER_LIST: Final = 40
"""Vectors by which each list's centre is found,"""
N_ITERATIONS: Final = 6
"""in so many steps."""
LISTS_IN_THREADS: Final = 15
"""Faiss's name for: the lists of one query are shared out among threads."""


class FaissEngine:
    """An index of faiss under the names 0, 1, 2, ...; see :class:`~engines.Engine`."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._lists = faiss.try_extract_index_ivf(index)
        if self._lists is not None:
            faiss.downcast_index(self._lists).implem = LISTS_IN_THREADS
        self.effort = 1

    @classmethod
    def build(
        cls, kind: str, n: int, blocks: Callable[[], Iterable[NDArray[np.float32]]]
    ) -> FaissEngine:
        """Train on vectors evenly drawn, then hold them all."""
        n_lists = int(max(1, min(2 * np.sqrt(n), n / PER_LIST)))
        every = max(1, n // max(PER_LIST * n_lists, 20_000))
        some, start = [], 0
        for block in blocks():
            some.append(block[(-start) % every :: every])
            start += len(block)
        index = _empty(kind, np.concatenate(some), n_lists)
        made, start = cls(index), 0
        for block in blocks():
            made.add(block, np.arange(start, start + len(block)))
            start += len(block)
        return made

    @property
    def efforts(self) -> tuple[int, ...]:
        """Lists that may be looked at, ascending."""
        if self._lists is None:
            return (1,)
        steps = 2.0 ** np.arange(0, 12, 0.5)
        n = int(self._lists.nlist)
        return tuple(sorted({min(round(step), n) for step in steps}))

    def search(
        self,
        queries: NDArray[np.float32],
        n: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return names and scores of the nearest, (B, n)."""
        options: dict[str, Any] = {}
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")  # kept until the search is over
            options["sel"] = faiss.IDSelectorBitmap(bits)
        if self._lists is not None:
            parameters = faiss.SearchParametersIVF(nprobe=self.effort, **options)
        else:
            parameters = faiss.SearchParameters(**options)
        scores, rows = self._index.search(self._stored(queries, 0), n, params=parameters)
        return rows, scores

    def add(self, vectors: NDArray[np.float32], names: NDArray[np.int64]) -> None:
        """Hold more vectors."""
        self._index.add_with_ids(self._stored(vectors, 1), names)

    def remove(self, names: NDArray[np.int64]) -> None:
        """Forget some."""
        self._index.remove_ids(np.ascontiguousarray(names, np.int64))

    def _stored(self, vectors: NDArray[np.float32], last: float) -> NDArray[np.float32]:
        if self._lists is None:
            return np.ascontiguousarray(vectors, np.float32)
        return _with(vectors, last)

    def save(self, path: Path) -> None:
        """Write the index, whole or not at all."""
        with replacing(path) as temporary:
            faiss.write_index(self._index, str(temporary))

    @classmethod
    def open(cls, path: Path) -> FaissEngine:
        """Return a saved index; codes in lists are held in memory, scans mapped from disk."""
        try:
            return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError as error:
            raise StoreError(
                f"{path}: cannot be read ({str(error).splitlines()[0][:120]}). Make it again with "
                "dafm index --engine."
            ) from None


def _empty(kind: str, some: NDArray[np.float32], n_lists: int) -> Any:
    """Return an index of faiss that holds nothing yet, trained on some vectors (n, D)."""
    if kind in FACTORY or len(some) < FEWEST:
        factory = FACTORY.get(kind, FACTORY["scan16"])
        index = faiss.index_factory(some.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        index.train(np.ascontiguousarray(some))
        return index
    means = faiss.Kmeans(some.shape[1], n_lists, niter=N_ITERATIONS, seed=0)
    means.cp.max_points_per_centroid = len(some)
    means.train(np.ascontiguousarray(some))
    centres = means.centroids
    # An image belongs to the list whose centre c is nearest to it: whose f.c - c.c / 2 is highest,
    # which is an inner product of vectors of one number more. A query has 0 there, and so looks at
    # the lists whose centres have the highest inner product with it.
    halves = (centres**2).sum(axis=1, keepdims=True) / 2
    width = some.shape[1] + 1
    factory = f"IVF{n_lists},PQ{width}x4fs"
    index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    faiss.extract_index_ivf(index).quantizer.add(np.concatenate([centres, -halves], axis=1))
    index.train(_with(some, 1))
    return index


def _with(vectors: NDArray[np.float32], last: float) -> NDArray[np.float32]:
    """Return vectors (n, D) with one number more, (n, D + 1)."""
    return np.pad(vectors, ((0, 0), (0, 1)), constant_values=last)
