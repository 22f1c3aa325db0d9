"""An engine beside an index, made: built, tried on the bank's queries, written.

What it has to offer, and how it is opened and used, stands in ``engines.py``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import OptionError
from dafm_core.ground.files import sha256_of, write_json
from dafm_core.ground.progress import Progress, silent
from dafm_core.search.engines import (
    FILE,
    FORMAT_VERSION,
    KINDS,
    Engine,
    IndexEngine,
    Rows,
    SpaceEngines,
    engine_type,
    file_of,
    part_hashes,
)
from dafm_core.search.index import GalleryIndex
from dafm_core.search.nearest import Direction, Nearest
from dafm_core.search.spaces import Space, Vectors, seen_direction, spaces, views_of
from dafm_core.store.manifest import sealed

N_CHECKED: Final = 64
"""Queries on which an engine is tried."""
WANTED: Final = 50
"""First images of each query that an engine should find,"""
DEPTH: Final = 500
"""among as many, which are scored exactly afterwards."""
ENOUGH: Final = 0.99
"""Share of them with which it looks at no more lists;"""
ENOUGH_OF_ONE: Final = 0.95
"""of those of one model, most of which all models together find too."""
BLOCK: Final = 1 << 14
"""Images whose vectors are joined at a time."""


def build_engine(
    index: GalleryIndex, kind: str = "ivf", progress: Progress = silent
) -> dict[str, SpaceEngines]:
    """Make engines for the images of an index, in each of its spaces, and keep them.

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
    check_geometry(
        {n: entry.geometry if entry.is_dot else "" for n, entry in index.entries.items()}
    )
    old = [folder for folder in index.path.glob("engine-*/") if folder.name[7:].isdecimal()]
    number = 1 + max((int(folder.name[7:]) for folder in old), default=0)
    folder, rows = index.path / f"engine-{number}", Rows(index, len(index.manifest.part_rows))
    made: dict[str, SpaceEngines] = {}
    facts: dict[str, dict[str, Any]] = {}
    for which, space in spaces(index).items():
        engines = {}
        for view, part in views_of(space).items():
            file = folder / file_of(which, view)
            asked = _asked(index, which, tuple(part))
            engines[view] = _built(part, rows, kind, asked, file, progress)
        made[which] = SpaceEngines(engines, rows)
        facts[which] = {
            view: {**one.facts, "sha256": sha256_of(folder / file_of(which, view))}
            for view, one in engines.items()
        }
    values = {
        "format": FORMAT_VERSION,
        "kind": kind,
        "number": number,
        "parts": part_hashes(index),
        "spaces": facts,
    }
    write_json(index.path / FILE, sealed(values))
    for before in old:
        shutil.rmtree(before, ignore_errors=True)
    return made


def _built(
    space: Space,
    rows: Rows,
    kind: str,
    asked: Sequence[Direction],
    file: Path,
    progress: Progress,
) -> IndexEngine:
    """Build, try and save one engine; images that were removed are zeros in it."""
    evens = {name: _even(vectors) for name, vectors in space.items()}
    widths = {name: vectors.width[0] for name, vectors in space.items()}
    n_rows, row_of = len(rows.column_of), np.flatnonzero(rows.column_of >= 0)

    def blocks() -> Iterable[NDArray[np.float32]]:
        next_row = 0
        for parts in zip(*(vectors.blocks(BLOCK) for vectors in space.values()), strict=True):
            progress(f"engine {file.stem}", next_row, n_rows)
            named = zip(space, parts, strict=True)
            joined = np.concatenate([evens[name](v) for name, (_, v) in named], 1)
            here = row_of[parts[0][0]]
            block = np.zeros((here[-1] + 1 - next_row, joined.shape[1]), np.float32)
            block[here - next_row] = joined
            next_row = here[-1] + 1
            yield block
        if next_row < n_rows:
            yield np.zeros((n_rows - next_row, sum(widths.values())), np.float32)

    engine = engine_type().build(kind, n_rows, blocks)
    facts: dict[str, Any] = {
        "scales": {name: even.scale for name, even in evens.items()},
        "centres": {name: even.centre.tolist() for name, even in evens.items()},
        "kind": kind,
    }
    found = IndexEngine(engine, rows, widths, facts)
    facts["recall"] = _tune(found, engine, space, asked)
    facts["effort"] = engine.effort
    engine.save(file)
    return found


def check_kind(kind: str) -> None:
    """Raise OptionError for an unknown kind, or where the extra is not installed."""
    if kind not in KINDS:
        raise OptionError(f"engine: expected {', '.join(KINDS)}, got {kind!r}.")
    engine_type()


def check_geometry(geometries: Mapping[str, str]) -> None:
    """Raise OptionError unless the scores of all providers are inner products."""
    for name, geometry in geometries.items():
        if geometry != "dot":
            raise OptionError(
                f"engine: expected models whose scores are inner products, got {name!r}, whose are "
                "not. Index without it, or search exactly."
            )


@dataclass(frozen=True, eq=False)
class Even:
    """What makes a model's vectors alike to those of others: about zero, about of unit length."""

    centre: NDArray[np.float32]
    scale: float

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return vectors (n, D) so."""
        return (vectors - self.centre) * np.float32(self.scale)


def _even(vectors: Vectors) -> Even:
    """Return what some of a model's vectors ask for."""
    places = np.linspace(0, len(vectors) - 1, min(len(vectors), 4096)).astype(np.int64)
    some = vectors.take(places)
    centre = some.mean(axis=0)
    length = float(np.sqrt(((some - centre) ** 2).sum(axis=1).mean()))
    return Even(centre, 1 / max(length, 1e-12))


def _asked(index: GalleryIndex, which: str, names: tuple[str, ...]) -> list[Direction]:
    """Return what an engine is tried on: directions of the bank's queries in a space."""
    files = {name: index.path / name / "bank.npy" for name in names}
    queries: dict[str, NDArray[np.float32]]
    if index.manifest.bank and all(file.exists() for file in files.values()):
        queries = {name: np.load(file, allow_pickle=False) for name, file in files.items()}
    else:  # its own images are easier than queries, but something has to be asked
        some = np.linspace(0, index.n_images - 1, N_CHECKED).astype(np.int64)
        queries = {name: index.features(name).take(some) for name in names}
    directions: list[Direction] = []
    for i in range(min(N_CHECKED, *(len(rows) for rows in queries.values()))):
        direction = {}
        for name, rows in queries.items():
            direction[name] = rows[i]
            if name in index.moments:
                row = index.moments[name].of_row(rows[i], np.empty(0, np.float32))
                plain = rows[i] / np.float32(row.std or 1)
                direction[name] = seen_direction(rows[i], row) if which == "seen" else plain
        directions.append(direction)
    return directions


def _tune(
    engine: IndexEngine, made: Engine, space: Space, directions: Sequence[Direction]
) -> float:
    """Let an engine look at as many lists as it takes; return the share that it finds then."""
    n_images, enough = len(next(iter(space.values()))), ENOUGH if len(space) > 1 else ENOUGH_OF_ONE
    depth, wanted = min(DEPTH, n_images), min(WANTED, n_images)
    first = [set(c[:wanted].tolist()) for c in Nearest(space)(directions, wanted)]
    recall = 0.0
    for effort in made.efforts:
        made.effort = effort
        found = engine.search(directions, depth, None)
        shares = [len(f & set(c.tolist())) / wanted for f, (c, _) in zip(first, found, strict=True)]
        recall = float(np.mean(shares))
        if recall >= enough:
            break
    return recall
