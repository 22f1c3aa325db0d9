"""What only a large gallery of inner products keeps: moments of its features, and its bank image by
image, so that a query looks at few images and new images change little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.files import sha256_of
from dafm_core.ground.progress import Progress
from dafm_core.search import state
from dafm_core.search.bank_queries import read_bank_queries
from dafm_core.search.cells import BankRows, IndexBank, writing_cells
from dafm_core.search.index import GalleryIndex
from dafm_core.search.live import LiveProvider
from dafm_core.search.manifest import Manifest
from dafm_core.search.moments import BankColumns, Moments
from dafm_core.search.streamed import BankScores, learned_rows

MAX_QUERIES: Final = 1024
"""Of a larger bank as many are taken, evenly spread: time grows with the square of their number."""
KEYS: Final = ("version", "parts", "changed")
"""What the manifest says of a bank that is kept image by image."""
BLOCK: Final = 1 << 13
"""Images looked at at a time."""


def is_large(manifest: Manifest) -> bool:
    """Say whether a gallery is kept so: too many images for neighbours, inner products alone."""
    return manifest.n_images > state.MAX_NEIGHBOURS and manifest.all_dot


def settle(
    path: Path,
    manifest: Manifest,
    live: Mapping[str, LiveProvider],
    before: GalleryIndex | None,
    progress: Progress,
) -> tuple[dict[str, Any], str | None]:
    """Write bank and moments of a new state.

    Returns
    -------
    dict
        What the manifest says of the bank.
    str or None
        What an answer must say of it.
    """
    index = GalleryIndex.draft(path, manifest)
    known = before if before is not None and _knows(before, manifest) else None
    bank = dict(manifest.bank)
    if bank and known is None:
        bank |= {"version": manifest.state, "parts": [], "changed": 0}
    elif bank and known is not None:
        changed = int(bank["changed"]) + len(_new(known, index)) + len(_gone(known, index))
        bank |= {"parts": list(bank["parts"]), "changed": changed}
    if bank and len(bank["parts"]) < len(manifest.part_rows):
        _grow_bank(index, bank, live, progress)
    index = GalleryIndex.draft(path, replace(manifest, bank=bank))
    for done, name in enumerate(index.names):
        progress("moments", done, len(index.names))
        _all_moments(index, name, known).save(index.state / f"{name}.moments.npz")
    progress("moments", len(index.names), len(index.names))
    if not bank.get("changed"):
        return bank, None
    return bank, (
        f"bank: {bank['changed']} images came or went since it was made; it sees new ones under "
        "the means and spreads of before"
    )


def _knows(before: GalleryIndex, manifest: Manifest) -> bool:
    """Say whether an index has what growing it needs."""
    return bool(before.moments) and bool(before.bank_parts) == bool(manifest.bank)


def _new(before: GalleryIndex, index: GalleryIndex) -> NDArray[np.int64]:
    """Return the columns of images whose part is new."""
    return np.flatnonzero(index.images["part"].to_numpy() >= len(before.manifest.part_rows))


def _gone(before: GalleryIndex, index: GalleryIndex) -> NDArray[np.int64]:
    """Return the columns in the old index of images that are no more."""
    gone, start = [np.empty(0, np.int64)], 0
    for old, new in zip(before.part_rows, index.part_rows, strict=False):
        gone.append(start + np.flatnonzero(~np.isin(old, new, assume_unique=True)))
        start += len(old)
    return np.concatenate(gone)


def _grow_bank(
    index: GalleryIndex, bank: dict[str, Any], live: Mapping[str, LiveProvider], progress: Progress
) -> None:
    """Write what a bank says of the images of parts that it has not seen; a new one learns first.

    The names of the parts written are added to ``bank``.
    """
    queries, encoded = read_bank_queries(index.path, index, live)
    scores = BankScores(encoded, list(queries.removed))
    folder = index.path / f"bank-{bank['version']}"
    folder.mkdir(exist_ok=True)
    if bank["parts"]:
        rows = BankRows.load(folder / "rows.npz")
    else:
        features = {name: index.features(name) for name in index.names}
        rows = learned_rows(features, scores, progress)
        rows.save(folder / "rows.npz")
    start = 0
    for p, (n, there) in enumerate(zip(index.manifest.part_rows, index.part_rows, strict=True)):
        if p >= len(bank["parts"]):
            file = folder / f"part-{p}.npy"
            with writing_cells(file, n, (len(index.names), rows.width)) as write:
                for first in range(0, len(there), BLOCK):
                    progress(f"bank part {p}", first, len(there))
                    chosen = there[first : first + BLOCK]
                    columns = start + np.arange(first, first + len(chosen))
                    found = {
                        name: scores.of(name, columns, index.part(name, p)[chosen])
                        for name in index.names
                    }
                    write(chosen, rows.cells(index.names, found))
            progress(f"bank part {p}", len(there), len(there))
            bank["parts"].append(sha256_of(file))
        start += len(there)


def _all_moments(index: GalleryIndex, name: str, known: GalleryIndex | None) -> Moments:
    """Return the sums over every image, from those of before where they are known."""
    if known is None:
        return _moments(index, name, np.arange(index.n_images), None)
    moments = known.moments[name]
    changes = ((index, _new(known, index), 1), (known, _gone(known, index), -1))
    for source, columns, sign in changes:
        if len(columns):
            moments = moments.plus(_moments(source, name, columns, moments.centre), sign=sign)
    return moments


def _moments(
    index: GalleryIndex, name: str, columns: NDArray[np.int64], centre: NDArray[np.float64] | None
) -> Moments:
    features, bank = index.features(name), index.bank

    def blocks() -> Iterator[tuple[NDArray[np.float32], BankColumns | None]]:
        for start in range(0, len(columns), BLOCK):
            chosen = columns[start : start + BLOCK]
            cells = bank.at(chosen)[name] if isinstance(bank, IndexBank) else None
            yield features.take(chosen), cells

    return Moments.of(blocks(), centre=centre)
