"""An engine beside an index: what finds near images without looking at all of them.

An engine holds the vectors of all models side by side, so that it finds the nearest of any one
model and of a linear fusion alike. It belongs to the features that it was made of: ``engine.json``
has their hashes. What was added since is scanned by ``nearest.py``; an engine of other features is
not used, and the answer says so. The engine that ships is ``faiss_engine.py``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import OptionError, StoreError
from dafm_core.ground.files import write_json
from dafm_core.ground.progress import Progress, silent
from dafm_core.search.index import GalleryIndex
from dafm_core.search.nearest import Direction, Nearest
from dafm_core.search.spaces import BANK, Space, Vectors, spaces
from dafm_core.store.manifest import SEAL, read_object, sealed

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
BLOCK: Final = 1 << 14
"""Images whose vectors are joined at a time."""

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


def build_engine(
    index: GalleryIndex, kind: str = "ivf", progress: Progress = silent
) -> dict[str, IndexEngine]:
    """Make an engine for the images of an index, one in each of its spaces, and keep them.

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
    old = list(index.path.glob("engine-*.bin"))
    number = 1 + max((int(file.stem.split("-")[1]) for file in old), default=0)
    made, facts = {}, {}
    for which, space in spaces(index).items():
        file = index.path / f"engine-{number}-{which}.bin"
        made[which] = _built(index, which, space, kind, file, progress)
        facts[which] = {**made[which].facts, "file": file.name}
    values = {
        "format": FORMAT_VERSION, "kind": kind, "parts": _parts(index), "spaces": facts,
    }  # fmt: skip
    write_json(index.path / FILE, sealed(values))
    for file in old:
        file.unlink(missing_ok=True)
    return made


def _built(
    index: GalleryIndex, which: str, space: Space, kind: str, file: Path, progress: Progress
) -> IndexEngine:
    """Build, try and save the engine of one space; images that were removed are zeros in it."""
    scales = {name: _scale(vectors, name) for name, vectors in space.items()}
    widths = {name: vectors.width[0] for name, vectors in space.items()}
    n_rows = sum(index.manifest.part_rows)
    row_of = np.concatenate(
        [
            start + rows
            for start, rows in zip(
                np.cumsum([0, *index.manifest.part_rows]), index.part_rows, strict=False
            )
        ]
    )

    def blocks() -> Iterable[NDArray[np.float32]]:
        next_row = 0
        for parts in zip(*(vectors.blocks(BLOCK) for vectors in space.values()), strict=True):
            progress(f"engine {which}", next_row, n_rows)
            joined = np.concatenate(
                [v * np.float32(scales[name]) for name, (_, v) in zip(space, parts, strict=True)], 1
            )
            rows = row_of[parts[0][0]]
            block = np.zeros((rows[-1] + 1 - next_row, joined.shape[1]), np.float32)
            block[rows - next_row] = joined
            next_row = rows[-1] + 1
            yield block
        if next_row < n_rows:
            yield np.zeros((n_rows - next_row, sum(widths.values())), np.float32)

    engine = _engine_type().build(kind, n_rows, blocks)
    facts: dict[str, Any] = {"scales": scales, "kind": kind}
    found = IndexEngine(engine, index, widths, facts, len(index.manifest.part_rows))
    facts["recall"] = _tune(found, engine, index, space)
    facts["effort"] = engine.effort
    engine.save(file)
    return found


def check_kind(kind: str) -> None:
    """Raise OptionError for an unknown kind, or where the extra is not installed."""
    if kind not in KINDS:
        raise OptionError(f"engine: expected {', '.join(KINDS)}, got {kind!r}.")
    _engine_type()


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
        raise StoreError(f"{path}: edited or damaged. Make it again with dafm index --engine.")
    again = f"Make it again: dafm index --engine {facts['kind']} --out {index.path}"
    n_parts = len(facts["parts"])
    if facts["format"] != FORMAT_VERSION or _parts(index)[:n_parts] != facts["parts"]:
        return {}, f"engine: made of other features, so every image was scanned. {again}"
    if find_spec("faiss") is None:
        return {}, "engine: not used, since the extra dafm-core[faiss] is not installed here"
    engines = {}
    for which, space in spaces(index).items():
        engine = _engine_type().open(index.path / facts["spaces"][which]["file"])
        engine.effort = facts["spaces"][which]["effort"]
        widths = {name: vectors.width[0] for name, vectors in space.items()}
        engines[which] = IndexEngine(engine, index, widths, facts["spaces"][which], n_parts)
    return engines, None


def _engine_type() -> type[Engine]:
    try:
        from dafm_core.search.faiss_engine import FaissEngine
    except ImportError:
        raise OptionError(
            "engine: needs faiss. Install it with: pip install 'dafm-core[faiss]'"
        ) from None
    return FaissEngine


def _parts(index: GalleryIndex) -> list[dict[str, str]]:
    """Return the hash of each part of every provider's features, and of what the bank says."""
    bank = index.manifest.bank.get("parts", [""] * len(index.manifest.part_rows))
    return [
        {name: index.entries[name].parts[p].sha256 for name in index.names} | {BANK: bank[p]}
        for p in range(len(index.manifest.part_rows))
    ]


def _scale(vectors: Vectors, name: str) -> float:
    """Return what gives a model's vectors unit length, so that each counts alike in the lists."""
    if name == BANK:
        return 1.0
    places = np.linspace(0, len(vectors) - 1, min(len(vectors), 4096)).astype(np.int64)
    return float(1 / max(np.sqrt((vectors.take(places) ** 2).sum(axis=1).mean()), 1e-12))


def _tune(engine: IndexEngine, made: Engine, index: GalleryIndex, space: Space) -> float:
    """Let an engine look at as many lists as it takes; return the share that it finds then."""
    files = {name: index.path / name / "bank.npy" for name in index.names}
    queries: dict[str, NDArray[np.float32]]
    if index.manifest.bank and all(file.exists() for file in files.values()):
        queries = {name: np.load(file, allow_pickle=False) for name, file in files.items()}
    else:  # its own images are easier than queries, but something has to be asked
        some = np.linspace(0, index.n_images - 1, N_CHECKED).astype(np.int64)
        queries = {name: index.features(name).take(some) for name in index.names}
    n = min(N_CHECKED, *(len(rows) for rows in queries.values()))
    directions = [
        {name: rows[i] * np.float32(engine.facts["scales"][name]) for name, rows in queries.items()}
        for i in range(n)
    ]
    depth, wanted = min(DEPTH, index.n_images), min(WANTED, index.n_images)
    first = [set(c[:wanted].tolist()) for c in Nearest(space)(directions, wanted)]
    recall = 0.0
    for effort in made.efforts:
        made.effort = effort
        found = engine.search(directions, depth, None)
        shares = [len(f & set(c.tolist())) / wanted for f, (c, _) in zip(first, found, strict=True)]
        recall = float(np.mean(shares))
        if recall >= ENOUGH:
            break
    return recall
