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
PER_LIST: Final = 40
"""Vectors by which each list's centre is found."""


class FaissEngine:
    """An index of faiss under the names 0, 1, 2, ...; see :class:`~engines.Engine`."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._lists = faiss.try_extract_index_ivf(index)
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
        training = _even(np.concatenate(some))
        factory = FACTORY.get(kind, f"IVF{n_lists},PQ{training.shape[1] // 2}x4fs")
        index = faiss.index_factory(training.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        lists = faiss.try_extract_index_ivf(index)
        if lists is not None:
            lists.cp.niter = 6
        index.train(training)
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
        scores, rows = self._index.search(_even(queries), n, params=parameters)
        return rows, scores

    def add(self, vectors: NDArray[np.float32], names: NDArray[np.int64]) -> None:
        """Hold more vectors."""
        self._index.add_with_ids(_even(vectors), names)

    def remove(self, names: NDArray[np.int64]) -> None:
        """Forget some."""
        self._index.remove_ids(np.ascontiguousarray(names, np.int64))

    def save(self, path: Path) -> None:
        """Write the index, whole or not at all."""
        with replacing(path) as temporary:
            faiss.write_index(self._index, str(temporary))

    @classmethod
    def open(cls, path: Path) -> FaissEngine:
        """Return a saved index, its vectors mapped from disk."""
        try:
            return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError as error:
            raise StoreError(
                f"{path}: cannot be read ({str(error).splitlines()[0][:120]}). Make it again with "
                "dafm index --engine."
            ) from None


def _even(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors of an even width: numbers are kept in pairs."""
    return np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, vectors.shape[1] % 2))), np.float32)
