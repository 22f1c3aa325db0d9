"""What depends on which images are there: the gallery table, neighbours, and the bank's columns.

Written into a folder of its own for each build, ``--add`` and ``--remove``, before the manifest
names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.contract.items import Query
from dafm_core.datasets.bank import as_bank
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.fusion.channels.bank import MAX_BYTES, QueryBank
from dafm_core.ground.files import replacing, sha256_of
from dafm_core.ground.progress import Progress, silent
from dafm_core.scoring.neighbours import nearest_neighbours
from dafm_core.search.live import LiveProvider
from dafm_core.store.shortlist import Shortlist, Unknown
from dafm_core.store.stack import SimilarityStack

MAX_NEIGHBOURS: Final = 30_000
"""Images up to which each one's nearest others are found, by comparing all with all."""
BLOCK: Final = 64
"""Bank queries scored at a time."""


def write_table(folder: Path, images: pl.DataFrame) -> None:
    """Write the images that are there."""
    with replacing(folder / "gallery.parquet") as temporary:
        images.write_parquet(temporary)


def write_neighbours(
    folder: Path, live: Mapping[str, LiveProvider], progress: Progress = silent
) -> str | None:
    """Write each image's nearest others; return what an answer must say where there are none."""
    known = {name: p for name, p in live.items() if p.entry.has_features}
    for done, (name, provider) in enumerate(known.items()):
        progress("neighbours", done, len(known))
        if len(provider.features) > MAX_NEIGHBOURS:
            return (
                f"no neighbours: the gallery has more than {MAX_NEIGHBOURS} images, so a fusion "
                "that reads them uses what it learned without them"
            )
        nearest = nearest_neighbours(provider.features.whole())
        if nearest is not None:
            save(folder / f"{name}.neighbours.npy", nearest)
    progress("neighbours", len(known), len(known))
    return None


def write_bank(
    folder: Path,
    bank: Dataset,
    live: Mapping[str, LiveProvider],
    encoded: Mapping[str, NDArray[np.float32]],
    progress: Progress = silent,
) -> None:
    """Write what the bank's queries say of every image; parameters as :func:`scored_bank`."""
    arrays, _ = QueryBank.of(scored_bank(bank, live, encoded, progress)).to_state()
    for name, array in arrays.items():
        save(folder / f"{name}.npy", array)


def scored_bank(
    bank: Dataset,
    live: Mapping[str, LiveProvider],
    encoded: Mapping[str, NDArray[np.float32]],
    progress: Progress = silent,
) -> SimilarityStack:
    """Return the bank's queries with their rows.

    Parameters
    ----------
    bank : Dataset
        Queries against this gallery, see :func:`bank_dataset`.
    live : mapping of str to LiveProvider
    encoded : mapping of str to ndarray
        Features of the bank's queries, for providers that have them.
    """
    matrices: dict[str, NDArray[np.float32] | Shortlist] = {}
    for name, provider in live.items():
        if provider.is_pair:  # asked about nobody: a bank that large is beyond its budget
            empty = [np.empty(0, np.int64)] * bank.n_queries
            scores = [np.empty(0, np.float32)] * bank.n_queries
            matrices[name] = Shortlist.of_lists(empty, scores, bank.n_gallery)
            continue
        rows = np.empty((bank.n_queries, bank.n_gallery), np.float32)
        for start in range(0, bank.n_queries, BLOCK):
            progress(f"bank {name}", start, bank.n_queries)
            stop = min(start + BLOCK, bank.n_queries)
            rows[start:stop] = provider.rows(
                encoded[name][start:stop] if name in encoded else _queries(bank, start, stop)
            )
        progress(f"bank {name}", bank.n_queries, bank.n_queries)
        matrices[name] = rows
    unknown: dict[str, Unknown] = {name: "not-asked" for name, p in live.items() if p.is_pair}
    return SimilarityStack.from_matrices(matrices, bank, unknown=unknown, checked=True)


def bank_dataset(queries: Dataset, images: Dataset) -> Dataset:
    """Return a bank's queries against the images of an index."""
    return as_bank(queries, images, protocol="index-bank")


def thinned(queries: Dataset, most: int) -> Dataset:
    """Return at most so many of a bank's queries, evenly spread."""
    stride = max(1, -(-queries.n_queries // most))
    return queries if stride == 1 else queries.take(queries.query_ids[::stride])


def most_queries(n_providers: int, n_gallery: int) -> int:
    """Return of how many queries the scores have room in memory."""
    return max(1, MAX_BYTES // (4 * n_providers * n_gallery))


def image_dataset(images: pl.DataFrame) -> Dataset:
    """Return the images of an index as a dataset without queries."""
    paths = zip(images["image_id"], images["path"], strict=True)
    return Dataset(
        protocol="index",
        gallery_ids=tuple(images["image_id"]),  # type: ignore[arg-type]  # made Ids there
        queries=query_frame([], where="index"),
        images={i: Path(path) for i, path in paths if path is not None},
    )


def save(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file of a state."""
    return {file.name: sha256_of(file) for file in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.iterdir()) if not file.name.startswith("."))


def _queries(bank: Dataset, start: int, stop: int) -> list[Query]:
    return bank.iter_queries(start, stop)
