"""The queries of an index's bank: kept with their features, so that a gallery that changes can be
scored by them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.contract.provider import Features
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import QUERY_SCHEMA
from dafm_core.errors import OptionError
from dafm_core.ground.files import replacing, sha256_of
from dafm_core.scoring.boundary import named_errors
from dafm_core.search import state
from dafm_core.search.index import GalleryIndex
from dafm_core.search.live import LiveProvider
from dafm_core.search.stored import stored_array, stored_table


def write_bank_queries(
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
    dataset = state.bank_dataset(bank, state.image_dataset(index.images))
    for name, provider in scoring.items():
        if _has_rows(provider):
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
    files = ["bank.parquet", *(f"{n}/bank.npy" for n, p in scoring.items() if _has_rows(p))]
    return {
        "of": bank.protocol,
        "queries": dataset.n_queries,
        "providers": sorted(live),
        "files": {name: sha256_of(path / name) for name in files},
    }


def _has_rows(provider: LiveProvider) -> bool:
    """Whether the features of the bank's queries are kept."""
    return provider.entry.kind == "encoding"


def read_bank_queries(
    path: Path, index: GalleryIndex, live: Mapping[str, LiveProvider]
) -> tuple[Dataset, dict[str, NDArray[np.float32]]]:
    """Return a bank's queries against the images that are there, and their features by provider."""
    frame = stored_table(path / "bank.parquet")
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
        name: np.array(stored_array(path / name / "bank.npy"))
        for name, provider in live.items()
        if provider.entry.kind == "encoding"
    }
    return dataset, encoded
