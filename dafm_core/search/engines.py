"""An engine beside an index: what finds near images without looking at all of them.

An engine holds the vectors of all models side by side, so that it finds the nearest of any one
model and of a linear fusion alike. It belongs to the features that it was made of: ``engine.json``
has their hashes, and those of the engine's own files, ``engine-N/SPACE.bin``. What was added since
is scanned by ``nearest.py``; an engine of other features is not used, and the answer says so. The
engine that ships is ``faiss_engine.py``'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import OptionError, StoreError
from dafm_core.ground.files import sha256_of
from dafm_core.search.index import GalleryIndex
from dafm_core.search.nearest import Direction
from dafm_core.search.spaces import BANK, spaces
from dafm_core.store import checked
from dafm_core.store.manifest import SEAL, read_object, sealed

FORMAT_VERSION: Final = 2
FILE: Final = "engine.json"
KINDS: Final = ("ivf", "scan8", "scan16")
"""Inverted lists over vectors of two bits a number; scans of 8-bit and half-precision vectors."""
Found = tuple[NDArray[np.int64], NDArray[np.float32]]


class Engine(Protocol):
    """What a search engine has to offer; vectors are float32, similarity is their inner product.

    An adapter to a vector database implements these six, see docs/how-to/scale-out.md.
    """

    effort: int
    """How much it looks at: lists, beams; its own unit."""

    @property
    def efforts(self) -> tuple[int, ...]:
        """Settings of ``effort``, ascending; of them the first that finds enough is kept."""

    @classmethod
    def build(
        cls, kind: str, n: int, blocks: Callable[[], Iterable[NDArray[np.float32]]]
    ) -> Engine:
        """Hold n vectors (n, D), which come in blocks; row r is called r."""

    def search(
        self,
        queries: NDArray[np.float32],
        n: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return names and scores of the n nearest of each query, (B, n); -1 where there is none.

        Parameters
        ----------
        allowed : ndarray of bool, optional
            By name, which may be found.
        """

    def add(self, vectors: NDArray[np.float32], names: NDArray[np.int64]) -> None:
        """Hold more vectors, under names that none has had before."""

    def remove(self, names: NDArray[np.int64]) -> None:
        """Forget some; no other changes its name."""

    def save(self, path: Path) -> None:
        """Write everything to a file."""

    @classmethod
    def open(cls, path: Path) -> Engine:
        """Return what was saved, read from disk as it is needed."""


class IndexEngine:
    """An engine over the images of an index, in one of its spaces.

    Parameters
    ----------
    engine : Engine
    index : GalleryIndex
    widths : mapping of str to int
        Of the parts of a vector, in order.
    facts : mapping
        What ``engine.json`` says of the space: ``scales``, ``effort``, ``recall``.
    n_parts : int
        Builds and ``--add`` of the index that it holds.
    """

    def __init__(
        self,
        engine: Engine,
        index: GalleryIndex,
        widths: Mapping[str, int],
        facts: Mapping[str, Any],
        n_parts: int,
    ) -> None:
        self._engine = engine
        self.facts = facts
        self._scales: dict[str, float] = facts["scales"]
        self._widths = widths
        self._columns, start = [], 0
        for p, (n, rows) in enumerate(zip(index.manifest.part_rows, index.part_rows, strict=True)):
            columns = np.full(n, -1, np.int64)
            columns[rows] = np.arange(start, start + len(rows))
            start += len(rows)
            if p < n_parts:
                self._columns.append(columns)
        self.tail = np.arange(sum(int((c >= 0).sum()) for c in self._columns), start)
        """Columns of images that were added since."""

    @cached_property
    def _column_of(self) -> NDArray[np.int64]:
        """Column of each row of the engine; -1 where the image was removed."""
        return np.concatenate(self._columns)

    def search(
        self, directions: Sequence[Direction], n: int, shown: NDArray[np.bool_] | None
    ) -> list[Found]:
        """Return the n best columns in each direction and their scores, best first."""
        there = self._column_of >= 0
        if shown is not None:
            there &= shown[self._column_of]
        allowed = None if there.all() else there
        queries = np.stack([self._joined(direction) for direction in directions])
        rows, scores = self._engine.search(queries, min(n, len(there)), allowed)
        return [
            (self._column_of[found[found >= 0]], score[found >= 0])
            for found, score in zip(rows, scores, strict=True)
        ]

    def _joined(self, direction: Direction) -> NDArray[np.float32]:
        return np.concatenate(
            [
                direction[name] / np.float32(scale)
                if name in direction
                else np.zeros(self._widths[name], np.float32)
                for name, scale in self._scales.items()
            ]
        )


def open_engine(index: GalleryIndex) -> tuple[dict[str, IndexEngine], str | None]:
    """Return the engines beside an index by space, if they fit it, and what answers must say.

    Raises
    ------
    StoreError
        If a file is damaged or missing.
    """
    path = index.path / FILE
    if not path.exists():
        return {}, None
    facts = read_object(path)
    if sealed({k: v for k, v in facts.items() if k != SEAL})[SEAL] != facts.get(SEAL):
        raise StoreError(f"{path}: edited or damaged. {_again(index)}")
    n_parts = len(facts["parts"])
    if facts["format"] != FORMAT_VERSION:
        return {}, f"engine: of another version, so every image was scanned. {_again(index)}"
    if part_hashes(index)[:n_parts] != facts["parts"]:
        return {}, f"engine: made of other features, so every image was scanned. {_again(index)}"
    if find_spec("faiss") is None:
        return {}, "engine: not used, since the extra dafm-core[faiss] is not installed here"
    folder = index.path / f"engine-{facts['number']}"
    if index.is_checked:
        _check(
            index, folder, {which: facts["spaces"][which]["sha256"] for which in facts["spaces"]}
        )
    engines = {}
    for which, space in spaces(index).items():
        engine = engine_type().open(folder / f"{which}.bin")
        engine.effort = facts["spaces"][which]["effort"]
        widths = {name: vectors.width[0] for name, vectors in space.items()}
        engines[which] = IndexEngine(engine, index, widths, facts["spaces"][which], n_parts)
    return engines, None


def _check(index: GalleryIndex, folder: Path, expected: Mapping[str, str]) -> None:
    """Compare an engine's files with their checksums; what matched once is remembered."""
    files = {f"{which}.bin": sha256 for which, sha256 in expected.items()}
    seen = checked.signature(folder, files)
    if checked.is_remembered(folder, seen):
        return
    started = time.perf_counter()
    for name, sha256 in files.items():
        if name not in seen:
            raise StoreError(f"{folder / name}: is missing. {_again(index)}")
        if sha256_of(folder / name) != sha256:
            raise StoreError(f"{folder / name}: does not match its checksum. {_again(index)}")
    checked.remember(folder, seen)
    checked.say_cost(folder, checked.n_bytes(seen), started)


def _again(index: GalleryIndex) -> str:
    """Return what to do about an engine that cannot be used."""
    return f"Make the engine again: dafm index --engine ivf --out {index.path}"


def engine_type() -> type[Engine]:
    """Return the engine that ships; raise OptionError where its extra is not installed."""
    try:
        from dafm_core.search.faiss_engine import FaissEngine
    except ImportError:
        raise OptionError(
            "engine: needs faiss. Install it with: pip install 'dafm-core[faiss]'"
        ) from None
    return FaissEngine


def part_hashes(index: GalleryIndex) -> list[dict[str, str]]:
    """Return the hash of each part of every provider's features, and of what the bank says."""
    bank = index.manifest.bank.get("parts", [""] * len(index.manifest.part_rows))
    return [
        {name: index.entries[name].parts[p].sha256 for name in index.names} | {BANK: bank[p]}
        for p in range(len(index.manifest.part_rows))
    ]
