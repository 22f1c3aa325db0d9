"""A new state of an index: everything written first, then the manifest that makes it count."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dafm_core.contract.provider import Features
from dafm_core.datasets.base import QUERY_SCHEMA, Dataset
from dafm_core.errors import OptionError
from dafm_core.ground.blocks import forget
from dafm_core.ground.files import replacing
from dafm_core.ground.ids import Ids
from dafm_core.scoring.score import Progress, named_errors
from dafm_core.search import state
from dafm_core.search.index import GalleryIndex
from dafm_core.search.live import LiveProvider
from dafm_core.search.manifest import Manifest
from dafm_core.search.offers import Offer


def settle(
    path: Path,
    manifest: Manifest,
    images: pl.DataFrame,
    offers: Mapping[str, Offer],
    bank: Dataset | None,
    progress: Progress,
) -> GalleryIndex:
    """Write a new state, make it the one that counts, and remove what it replaces."""
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
    note = state.write_neighbours(folder, live, progress)
    if bank is not None:
        draft = replace(draft, bank={**draft.bank, **_write_bank(path, bank, index, live)})
    if draft.bank:
        _write_bank_columns(path, folder, index, live, progress)
    final = replace(draft, files=state.hashes(folder), notes=(note,) if note else ())
    final.write(path)
    for old in path.glob("state-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    for entry in final.entries.values():
        for p in range(len(entry.parts)):
            forget(path / entry.name / f"part-{p}.npy")
    return GalleryIndex.open(path)


def _write_bank(
    path: Path, bank: Dataset, index: GalleryIndex, live: Mapping[str, LiveProvider]
) -> dict[str, Any]:
    """Keep the bank's queries and their features; return what the manifest says of them."""
    scoring = {name: p for name, p in live.items() if p.entry.kind != "given"}
    lacking = [name for name in live if name not in scoring]
    if lacking:
        raise OptionError(
            f"index: a bank cannot be scored by {lacking[0]!r}, whose features were made "
            "elsewhere. Build the index without a bank (--bank none)."
        )
    thin = state.thinned(bank, n_providers=len(live), n_gallery=index.n_images)
    dataset = state.bank_dataset(thin, state.image_dataset(index.images))
    for name, provider in scoring.items():
        if provider.entry.kind == "encoding":
            rows: list[Features] = []
            for start in range(0, dataset.n_queries, state.BLOCK):
                queries = dataset.iter_queries(start, min(start + state.BLOCK, dataset.n_queries))
                with named_errors(name, f"bank query {queries[0].id!r}"):
                    encoded = provider.encode(queries, [{}] * len(queries))
                    rows.append(np.asarray(encoded))
            state.save(path / name / "bank.npy", np.concatenate(rows))
    known = {i: str(path.resolve()) for i, path in dataset.images.items()}
    paths = [[known.get(i) for i in ids] for ids in dataset.queries["references"]]
    frame = dataset.queries.with_columns(paths=pl.Series(paths, dtype=pl.List(pl.String)))
    with replacing(path / "bank.parquet") as temporary:
        frame.write_parquet(temporary)
    return {"of": bank.protocol, "queries": dataset.n_queries, "providers": sorted(live)}


def _write_bank_columns(
    path: Path,
    folder: Path,
    index: GalleryIndex,
    live: Mapping[str, LiveProvider],
    progress: Progress,
) -> None:
    frame = pl.read_parquet(path / "bank.parquet", glob=False)
    references = zip(frame["references"], frame["paths"], strict=True)
    known = {i: Path(p) for ids, ps in references for i, p in zip(ids, ps, strict=True) if p}
    queries = Dataset(
        protocol="bank",
        gallery_ids=index.ids,
        queries=frame.select(list(QUERY_SCHEMA)),
        images=known,
    )
    dataset = state.bank_dataset(queries, state.image_dataset(index.images))
    encoded = {
        name: np.load(path / name / "bank.npy", allow_pickle=False)
        for name, provider in live.items()
        if provider.entry.kind == "encoding"
    }
    state.write_bank(folder, dataset, live, encoded, progress)
