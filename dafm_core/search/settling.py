"""A new state of an index: everything written first, then the manifest that makes it count."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from dafm_core.datasets.base import Dataset
from dafm_core.ground.blocks import forget
from dafm_core.ground.ids import Ids
from dafm_core.ground.progress import Progress
from dafm_core.search import large, state
from dafm_core.search.bank_queries import read_bank_queries, write_bank_queries
from dafm_core.search.checking import trust
from dafm_core.search.code_files import write_codes
from dafm_core.search.index import GalleryIndex
from dafm_core.search.live import LiveProvider
from dafm_core.search.manifest import Manifest
from dafm_core.search.moments import Moments
from dafm_core.search.offers import Offer


def settle(
    path: Path,
    manifest: Manifest,
    images: pl.DataFrame,
    offers: Mapping[str, Offer],
    bank: Dataset | None,
    progress: Progress,
    *,
    before: GalleryIndex | None = None,
) -> GalleryIndex:
    """Write a new state, make it the one that counts, and remove what it replaces.

    Parameters
    ----------
    path : Path
    manifest : Manifest
        What is known so far: entries with all their parts.
    images : polars.DataFrame
        The images that will be there.
    offers : mapping of str to Offer
    bank : Dataset, optional
        Queries of a new bank.
    progress : callable
    before : GalleryIndex, optional
        The index that grows or shrinks; of a large one, what it knows is kept.
    """
    number = manifest.state + 1
    folder = path / f"state-{number}"
    shutil.rmtree(folder, ignore_errors=True)  # half of one that was killed
    folder.mkdir(parents=True)
    state.write_table(folder, images)
    ids = Ids(images["image_id"].to_list())
    draft = replace(
        manifest,
        state=number,
        n_images=len(ids),
        gallery_sha256=ids.sha256,
        files={"gallery.parquet": ""},
    )
    index = GalleryIndex.draft(path, draft)
    live = {
        name: LiveProvider(index, entry, offers[name].provider)
        for name, entry in draft.entries.items()
    }
    notes = [state.write_neighbours(folder, live, progress)]
    if bank is not None:
        most = (
            large.MAX_QUERIES if large.is_large(draft) else state.most_queries(len(live), len(ids))
        )
        said = write_bank_queries(path, state.thinned(bank, most), index, live)
        draft = replace(draft, bank={**draft.bank, **said})
    kept = {key: draft.bank[key] for key in draft.bank if key not in large.KEYS}
    codes: Mapping[str, Any] = {}
    if large.is_large(draft):
        kept, note = large.settle(path, draft, live, before, progress)
        notes.append(note)
        moments = {name: Moments.load(folder / f"{name}.moments.npz") for name in index.names}
        codes = write_codes(index, moments, draft.codes, progress)
    elif draft.bank:
        queries, encoded = read_bank_queries(path, index, live)
        state.write_bank(folder, queries, live, encoded, progress)
    draft = replace(draft, bank=kept, codes=codes)
    final = replace(draft, files=state.hashes(folder), notes=tuple(note for note in notes if note))
    final.write(path)
    tidy(path, final)
    index = GalleryIndex.open(path, verify=False)
    trust(index)
    return index


def tidy(path: Path, manifest: Manifest) -> None:
    """Remove what the manifest has replaced, also for a writer that was killed before it could."""
    kept = (
        f"state-{manifest.state}",
        f"bank-{manifest.bank.get('version')}",
        f"codes-{manifest.codes.get('version')}",
    )
    for old in (*path.glob("state-*"), *path.glob("bank-*/"), *path.glob("codes-*/")):
        if old.name not in kept:
            shutil.rmtree(old, ignore_errors=True)
    for entry in manifest.entries.values():
        for p in range(len(entry.parts)):
            forget(path / entry.name / f"part-{p}.npy")
