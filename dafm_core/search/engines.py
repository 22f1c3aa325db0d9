"""Engines beside an index: what finds near images without looking at all of them.

There is one over each model's vectors, and one over those of all models side by side, which finds
the nearest of a linear fusion. They belong to the features that they were made of: ``engine.json``
has their hashes, and those of the engines' own files, ``engine-N/SPACE-MODEL.bin``. What was added
since is scanned by ``nearest.py``; an engine of other features is not used, and the answer says so.
The engine that ships is ``faiss_engine.py``'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import OptionError, StoreError
from dafm_core.ground.files import sha256_of
from dafm_core.search.index import GalleryIndex
from dafm_core.search.nearest import Direction
from dafm_core.search.spaces import spaces, view_of, views_of
from dafm_core.store import checked
from dafm_core.store.manifest import SEAL, read_object, sealed

FORMAT_VERSION: Final = 3
FILE: Final = "engine.json"
KINDS: Final = ("ivf", "scan8", "scan16")
"""Inverted lists over vectors of four bits a number; scans of 8-bit and half-precision vectors."""
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


class Rows:
    """Which column of the gallery each row of an engine is.

    Parameters
    ----------
    index : GalleryIndex
    n_parts : int
        Builds and ``--add`` of the index that the engine holds.
    """

    def __init__(self, index: GalleryIndex, n_parts: int) -> None:
        columns, start, n_there = [np.empty(0, np.int64)], 0, 0
        for p, (n, rows) in enumerate(zip(index.manifest.part_rows, index.part_rows, strict=True)):
            if p < n_parts:
                column = np.full(n, -1, np.int64)
                column[rows] = np.arange(start, start + len(rows))
                columns.append(column)
                n_there += len(rows)
            start += len(rows)
        self.column_of = np.concatenate(columns)
        """-1 where the image was removed."""
        self.tail = np.arange(n_there, start)
        """Columns of images that were added since."""
        self._there = None if n_there == len(self.column_of) else self.column_of >= 0

    def allowed(self, shown: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Return which rows may be found; None where all may."""
        if shown is None:
            return self._there
        return shown[self.column_of] & (self.column_of >= 0)


class IndexEngine:
    """An engine over the images of an index: over one provider's vectors, or all side by side.

    Parameters
    ----------
    engine : Engine
    rows : Rows
    widths : mapping of str to int
        Of the parts of a vector, in order.
    facts : mapping
        What ``engine.json`` says of it: ``effort``, ``recall``, and by provider ``scales`` and
        ``centres``. The engine holds vectors less the centre, times the scale.
    """

    def __init__(
        self, engine: Engine, rows: Rows, widths: Mapping[str, int], facts: Mapping[str, Any]
    ) -> None:
        self._engine = engine
        self._rows = rows
        self._widths = widths
        self.facts = facts
        self._centres = {
            name: np.array(centre, np.float32) for name, centre in facts["centres"].items()
        }

    def search(
        self, directions: Sequence[Direction], n: int, shown: NDArray[np.bool_] | None
    ) -> list[Found]:
        """Return the n best columns in each direction and their scores, best first."""
        queries = np.stack([self._joined(direction) for direction in directions])
        column_of = self._rows.column_of
        allowed = self._rows.allowed(shown)
        names, scores = self._engine.search(queries, min(n, len(column_of)), allowed)
        shifts = [self._shift(direction) for direction in directions]
        return [
            (column_of[found[found >= 0]], score[found >= 0] + shift)
            for found, score, shift in zip(names, scores, shifts, strict=True)
        ]

    def _shift(self, direction: Direction) -> np.float32:
        """Return the score of the centres."""
        return np.float32(sum(vector @ self._centres[n] for n, vector in direction.items()))

    def _joined(self, direction: Direction) -> NDArray[np.float32]:
        return np.concatenate(
            [
                direction[name] / np.float32(scale)
                if name in direction
                else np.zeros(self._widths[name], np.float32)
                for name, scale in self.facts["scales"].items()
            ]
        )


class SpaceEngines:
    """The engines of one space: of each provider, and of all side by side.

    A direction of one provider is looked for among that provider's vectors alone, which are
    narrower and lie in lists of their own.
    """

    def __init__(self, engines: Mapping[str, IndexEngine], rows: Rows) -> None:
        self._engines = engines
        self.tail = rows.tail

    @property
    def recall(self) -> float:
        """Share of the first images that was found when they were made."""
        return min(float(engine.facts["recall"]) for engine in self._engines.values())

    def search(
        self, directions: Sequence[Direction], n: int, shown: NDArray[np.bool_] | None
    ) -> list[Found]:
        """Return the n best columns in each direction and their scores, best first."""
        views = [view_of(direction) for direction in directions]
        found: dict[int, Found] = {}
        for view in dict.fromkeys(views):
            asked = [d for d, name in enumerate(views) if name == view]
            answers = self._engines[view].search([directions[d] for d in asked], n, shown)
            found.update(zip(asked, answers, strict=True))
        return [found[d] for d in range(len(directions))]


def open_engine(index: GalleryIndex) -> tuple[dict[str, SpaceEngines], str | None]:
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
    made: dict[str, dict[str, Any]] = facts["spaces"]
    if index.is_checked:
        files = {
            file_of(w, v): one["sha256"] for w, views in made.items() for v, one in views.items()
        }
        _check(index, folder, files)
    rows, engines = Rows(index, n_parts), {}
    for which, space in spaces(index).items():
        opened = {}
        for view, part in views_of(space).items():
            known = made[which][view]
            engine = engine_type().open(folder / file_of(which, view))
            engine.effort = known["effort"]
            widths = {name: vectors.width[0] for name, vectors in part.items()}
            opened[view] = IndexEngine(engine, rows, widths, known)
        engines[which] = SpaceEngines(opened, rows)
    return engines, None


def file_of(which: str, view: str) -> str:
    """Return the name of an engine's file."""
    return f"{which}-{view}.bin" if view else f"{which}.bin"


def _check(index: GalleryIndex, folder: Path, files: Mapping[str, str]) -> None:
    """Compare an engine's files with their checksums; what matched once is remembered."""
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
        {name: index.entries[name].parts[p].sha256 for name in index.names} | {"": bank[p]}
        for p in range(len(index.manifest.part_rows))
    ]
