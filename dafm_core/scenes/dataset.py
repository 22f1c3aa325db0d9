"""The scenes protocol: families, queries and image files, from a seed.

Ids are hashes and everything is listed in their order, so neither ids nor order say which images
belong together.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from random import Random

import numpy as np

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import DatasetError
from dafm_core.ground.ids import Ids
from dafm_core.scenes.render import render
from dafm_core.scenes.texts import describe
from dafm_core.scenes.world import MAX_CHANGES, Scene, Signature, differences, make_family

VERSION = 1
"""Part of the cache key; a change of world, words or renderer makes it grow."""

QUERIES_PER_FAMILY = 7
SIMPLE_PER_FAMILY = 5
"""So many queries with a single change go before those with two."""
METRICS = (
    "recall@1", "recall@5", "recall@10", "recall@50", "rsubset@1", "rsubset@2", "rsubset@3",
    "rmean",
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """Six image ids with their scenes, and the pairs among them that are asked for."""

    name: str
    scenes: Mapping[str, Scene]
    queries: tuple[tuple[str, str, str], ...]
    """(reference id, target id, text)."""


def load(
    path: Path | None = None, *, split: str = "val", families: int = 432, seed: int = 0
) -> Dataset:
    """Return the scenes of one split; images are rendered into the cache where they are missing."""
    if families < 1:
        raise DatasetError(
            f"scenes: expected families >= 1, got {families}. Leave it out for the standard size."
        )
    world = make_world(f"{seed}/{split}", families)
    scenes = {i: scene for family in world for i, scene in family.scenes.items()}
    folder = cache_folder() / f"v{VERSION}-{split}-{seed}"
    suffix = ("" if families == 432 else f"-f{families}") + ("" if seed == 0 else f"-s{seed}")
    rows = [
        {
            "query_id": _opaque("query", reference, target),
            "reference": reference,
            "text": text,
            "group": family.name,
            "targets": [target],
            "subset": sorted(family.scenes),
            "excluded": [reference],
        }
        for family in world
        for reference, target, text in family.queries
    ]
    return Dataset(
        protocol=f"scenes-{split}{suffix}",
        gallery_ids=Ids(sorted(scenes)),
        queries=query_frame(sorted(rows, key=lambda row: str(row["query_id"])), where="scenes"),
        images=render_missing(scenes, folder),
        metrics=METRICS,
        options={"families": str(families), "seed": str(seed)},
    )


def make_world(key: str, n_families: int) -> list[Family]:
    """Return the families of one world; the first families do not depend on how many follow."""
    taken: set[Signature] = set()
    return [_make_family(f"{key}/{number}", taken) for number in range(n_families)]


def _make_family(key: str, taken: set[Signature]) -> Family:
    rng = Random(key)  # noqa: S311
    scenes = {_opaque(key, str(k)): scene for k, scene in enumerate(make_family(rng, taken))}
    pairs = [
        (reference, target, changes)
        for reference, target in permutations(scenes, 2)
        if len(changes := differences(scenes[reference], scenes[target])) <= MAX_CHANGES
    ]
    rng.shuffle(pairs)
    simple = [pair for pair in pairs if len(pair[2]) == 1]
    double = [pair for pair in pairs if len(pair[2]) == 2]
    preferred = simple[:SIMPLE_PER_FAMILY] + double + simple[SIMPLE_PER_FAMILY:]
    chosen = preferred[:QUERIES_PER_FAMILY]
    queries = tuple((r, t, describe(changes, scenes[r], rng)) for r, t, changes in chosen)
    return Family(_opaque("family", key), scenes, queries)


def _opaque(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def cache_folder() -> Path:
    """Return ``$DAFM_CACHE/scenes``, by default ``~/.cache/dafm/scenes``."""
    return Path(os.environ.get("DAFM_CACHE", "~/.cache/dafm")).expanduser() / "scenes"


def render_missing(scenes: Mapping[str, Scene], folder: Path) -> dict[str, Path]:
    """Return the file of each image, painting those that are not there yet.

    Each file appears whole or not at all, so a killed run leaves only finished images and the next
    one goes on.
    """
    files = {image_id: folder / f"{image_id}.png" for image_id in scenes}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = {entry.name for entry in os.scandir(folder)}
        for image_id, file in files.items():
            if file.name not in present:
                _write(scenes[image_id], int(image_id, 16), file)
    except OSError as error:
        raise DatasetError(
            f"scenes: cannot write images to {folder} ({error.strerror}). "
            "Set DAFM_CACHE to a folder with room for 50 MB."
        ) from None
    return files


def _write(scene: Scene, seed: int, file: Path) -> None:
    part = file.with_suffix(f".{os.getpid()}.part")
    render(scene, np.random.default_rng(seed)).save(part, format="PNG", compress_level=1)
    part.replace(file)
