"""An engine beside an index: what finds near images without looking at all of them.

One engine holds the vectors of all models side by side, so that it finds the nearest of any one
model and of a linear fusion alike. It belongs to the features that it was made of: ``engine.json``
has their hashes. What was added since is scanned by ``nearest.py``; an engine of other features is
not used, and the answer says so. The engine that ships is ``faiss_engine.py``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import OptionError, StoreError
from dafm_core.ground.files import write_json
from dafm_core.ground.progress import Progress, silent
from dafm_core.search.index import GalleryIndex
from dafm_core.search.stored import stored_array
from dafm_core.store.manifest import SEAL, read_object, sealed

if TYPE_CHECKING:
    from dafm_core.search.nearest import Direction

FORMAT_VERSION: Final = 1
FILE: Final = "engine.json"
KINDS: Final = ("ivf", "scan8", "scan16")
"""Inverted lists over vectors of two bits a number; scans of 8-bit and half-precision vectors."""
N_CHECKED: Final = 64
"""Queries on which an engine is tried."""
WANTED: Final = 50
"""First images of each query that an engine should find,"""
DEPTH: Final = 500
"""among as many, which are scored exactly afterwards."""
ENOUGH: Final = 0.985
"""Share of them with which it looks at no more lists."""
SINGLE: Final = 0.25
"""Part of the lists that is enough for one model alone: its nearest are wanted as candidates, and
most are found by the sum as well."""
BLOCK: Final = 1 << 14
"""Images whose vectors are joined at a time."""

Found = tuple[NDArray[np.int64], NDArray[np.float32]]
_NONE: Final[Found] = (np.empty(0, np.int64), np.empty(0, np.float32))


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
        *,
        part: float = 1.0,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return names and scores of the n nearest of each query, (B, n); -1 where there is none.

        Parameters
        ----------
        allowed : ndarray of bool, optional
            By name, which may be found.
        part : float
            Of the effort.
        """

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Hold more vectors, called by the numbers that follow."""

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Forget some; no other changes its name."""

    def save(self, path: Path) -> None:
        """Write everything to a file."""

    @classmethod
    def open(cls, path: Path) -> Engine:
        """Return what was saved, read from disk as it is needed."""


class IndexEngine:
    """An engine over the images of an index.

    Parameters
    ----------
    engine : Engine
    index : GalleryIndex
    facts : mapping
        What ``engine.json`` says.
    """

    def __init__(self, engine: Engine, index: GalleryIndex, facts: Mapping[str, Any]) -> None:
        self._engine = engine
        self.facts = facts
        self._scales: dict[str, float] = facts["scales"]
        self._widths = {name: index.entries[name].width[0] for name in self._scales}
        n_parts = len(facts["parts"])
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
        whole = np.array([len(direction) == len(self._scales) for direction in directions])
        best: list[Found] = [_NONE] * len(directions)
        for which, part in ((whole, 1.0), (~whole, SINGLE)):
            if not which.any():
                continue
            rows, scores = self._engine.search(
                queries[which], min(n, len(there)), allowed, part=part
            )
            for d, found, score in zip(np.flatnonzero(which), rows, scores, strict=True):
                best[d] = (self._column_of[found[found >= 0]], score[found >= 0])
        return best

    def _joined(self, direction: Direction) -> NDArray[np.float32]:
        return np.concatenate(
            [
                direction[name] / np.float32(scale)
                if name in direction
                else np.zeros(self._widths[name], np.float32)
                for name, scale in self._scales.items()
            ]
        )


def build_engine(
    index: GalleryIndex, kind: str = "ivf", progress: Progress = silent
) -> IndexEngine:
    """Make an engine for the images of an index, and keep it beside them.

    Parameters
    ----------
    index : GalleryIndex
        Of models whose scores are inner products.
    kind : {"ivf", "scan8", "scan16"}

    Raises
    ------
    OptionError
        For an unknown kind, a model of another geometry, or where the extra is not installed.
    """
    check_kind(kind)
    if not index.manifest.all_dot:
        name = next(n for n, entry in index.entries.items() if not entry.is_dot)
        raise OptionError(
            f"engine: expected models whose scores are inner products, got {name!r}, whose are "
            "not. Index without it, or search exactly."
        )
    engine_type = _engine_type()
    scales = {name: _scale(index, name) for name in index.names}
    parts = range(len(index.manifest.part_rows))

    def blocks() -> Iterable[NDArray[np.float32]]:
        for p in parts:
            arrays = {name: index.part(name, p) for name in scales}
            n = index.manifest.part_rows[p]
            for start in range(0, n, BLOCK):
                progress("engine", start, n)
                rows = slice(start, start + BLOCK)
                yield np.concatenate(
                    [arrays[name][rows] * np.float32(scale) for name, scale in scales.items()],
                    axis=1,
                )

    made = engine_type.build(kind, sum(index.manifest.part_rows), blocks)
    facts: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "kind": kind,
        "scales": scales,
        "parts": _parts(index),
    }
    recall = _tune(IndexEngine(made, index, facts), made, index)
    number = 1 + max(
        (int(f.stem.rpartition("-")[2]) for f in index.path.glob("engine-*.bin")), default=0
    )
    file = index.path / f"engine-{number}.bin"
    made.save(file)
    facts |= {"file": file.name, "effort": made.effort, "recall": recall}
    write_json(index.path / FILE, sealed(facts))
    for old in index.path.glob("engine-*.bin"):
        if old != file:
            old.unlink(missing_ok=True)
    return IndexEngine(made, index, facts)


def check_kind(kind: str) -> None:
    """Raise OptionError for an unknown kind, or where the extra is not installed."""
    if kind not in KINDS:
        raise OptionError(f"engine: expected {', '.join(KINDS)}, got {kind!r}.")
    _engine_type()


def open_engine(index: GalleryIndex) -> tuple[IndexEngine | None, str | None]:
    """Return the engine beside an index, if one fits it, and what an answer must say of it.

    Raises
    ------
    StoreError
        If its file is damaged or missing.
    """
    path = index.path / FILE
    if not path.exists():
        return None, None
    facts = read_object(path)
    if sealed({k: v for k, v in facts.items() if k != SEAL})[SEAL] != facts.get(SEAL):
        raise StoreError(f"{path}: edited or damaged. Make it again with dafm index --engine.")
    again = f"Make it again: dafm index --engine {facts['kind']} --out {index.path}"
    if facts["format"] != FORMAT_VERSION or _parts(index)[: len(facts["parts"])] != facts["parts"]:
        return None, f"engine: made of other features, so every image was scanned. {again}"
    if find_spec("faiss") is None:
        return None, "engine: not used, since the extra dafm-core[faiss] is not installed here"
    engine = _engine_type().open(index.path / facts["file"])
    engine.effort = facts["effort"]
    return IndexEngine(engine, index, facts), None


def _engine_type() -> type[Engine]:
    try:
        from dafm_core.search.faiss_engine import FaissEngine
    except ImportError:
        raise OptionError(
            "engine: needs faiss. Install it with: pip install 'dafm-core[faiss]'"
        ) from None
    return FaissEngine


def _parts(index: GalleryIndex) -> list[dict[str, str]]:
    """Return the hash of each part of every provider's features."""
    return [
        {name: index.entries[name].parts[p].sha256 for name in index.names}
        for p in range(len(index.manifest.part_rows))
    ]


def _scale(index: GalleryIndex, name: str) -> float:
    """Return what gives a model's features unit length, so that each counts alike in the lists."""
    features = index.features(name)
    some = features.take(
        np.linspace(0, len(features) - 1, min(len(features), 4096)).astype(np.int64)
    )
    return float(1 / max(np.sqrt((some**2).sum(axis=1).mean()), 1e-12))


def _tune(engine: IndexEngine, made: Engine, index: GalleryIndex) -> float:
    """Let an engine look at as many lists as it takes; return the share that it finds then."""
    from dafm_core.search.nearest import Nearest

    features = {name: index.features(name) for name in index.names}
    scales = engine.facts["scales"]
    files = {name: index.path / name / "bank.npy" for name in index.names}
    queries: dict[str, NDArray[np.float32]]
    if index.manifest.bank and all(file.exists() for file in files.values()):
        queries = {name: np.array(stored_array(file)) for name, file in files.items()}
    else:  # its own images are easier than queries, but something has to be asked
        some = np.linspace(0, index.n_images - 1, N_CHECKED).astype(np.int64)
        queries = {name: part.take(some) for name, part in features.items()}
    n = min(N_CHECKED, *(len(rows) for rows in queries.values()))
    directions = [
        {name: rows[i] * np.float32(scales[name]) for name, rows in queries.items()}
        for i in range(n)
    ]
    depth, wanted = min(DEPTH, index.n_images), min(WANTED, index.n_images)
    first = [set(c[:wanted].tolist()) for c in Nearest(features)(directions, wanted)]
    recall = 0.0
    for effort in made.efforts:
        made.effort = effort
        found = engine.search(directions, depth, None)
        shares = [len(f & set(c.tolist())) / wanted for f, (c, _) in zip(first, found, strict=True)]
        recall = float(np.mean(shares))
        if recall >= ENOUGH:
            break
    return recall
