"""The dataset part of a store, which every provider in it shares: ``store.json`` and two tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import QUERY_SCHEMA, with_later_columns
from dafm_core.errors import StoreError
from dafm_core.ground.files import replacing, write_json
from dafm_core.ground.ids import Ids
from dafm_core.ground.printable import first_line
from dafm_core.ground.sources import source_table
from dafm_core.store import checked, format1
from dafm_core.store.manifest import sealed, store_facts

FILES = ("store.json", "queries.parquet", "gallery.parquet")
"""What the dataset part is."""

REQUIRED = {
    "format": int,
    "protocol": str,
    "queries_sha256": str,
    "gallery_sha256": str,
    "dataset_options": dict,
    "n_queries": int,
    "n_gallery": int,
    "metrics": list,
}
"""Fields of ``store.json``, and their kinds."""


def make_folder(path: Path) -> None:
    """Make the folder of a store; raise StoreError where it cannot be one.

    Files that an interrupted start has left are no obstacle: they are written again.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be made a store ({error.strerror}). Choose another folder."
        ) from None
    if "store.json" not in names and names - {"queries.parquet", "gallery.parquet"}:
        raise StoreError(f"{path}: expected an empty or new folder for a store. Choose another.")


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Write the dataset part into a folder; its manifest last."""
    with replacing(path / "queries.parquet") as temporary:
        dataset.queries.write_parquet(temporary)
    gallery = pl.DataFrame({"image_id": list(dataset.gallery_ids)}, schema={"image_id": pl.String})
    with replacing(path / "gallery.parquet") as temporary:
        gallery.write_parquet(temporary)
    write_json(path / "store.json", sealed(store_facts(dataset)))


def protocol_of(facts: Mapping[str, Any]) -> str:
    """Return the name of the protocol that a manifest states."""
    protocol = str(facts["protocol"])
    return format1.protocol_of(protocol) if facts["format"] == 1 else protocol


def read_dataset(path: Path, facts: Mapping[str, Any]) -> Dataset:
    """Return the dataset of a store; without image paths.

    That its tables are those that were scored is found out once, and remembered while the files
    stay as they are.

    Parameters
    ----------
    path : Path
    facts : mapping
        The manifest.

    Raises
    ------
    StoreError
        If a table cannot be read, or is not the one that was scored.
    """
    seen = checked.signature(path, FILES)
    try:
        queries = source_table(path / "queries.parquet")
        if facts["format"] == 1:
            queries = format1.queries_of(queries)
        queries = with_later_columns(queries).select(list(QUERY_SCHEMA))
        gallery = source_table(path / "gallery.parquet")["image_id"].to_list()
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise StoreError(
            f"{path}: queries or gallery cannot be read ({first_line(error)})."
        ) from None
    dataset = Dataset(
        protocol=protocol_of(facts),
        gallery_ids=Ids(gallery),
        queries=queries,
        metrics=tuple(facts["metrics"]),
        options=facts["dataset_options"],
    )
    if facts["format"] == 1:
        format1.check(path, facts, dataset)
        return dataset
    if not checked.is_remembered(path, seen):
        check_tables(path, facts, dataset)
        checked.remember(path, seen)
    return dataset


def check_tables(path: Path, facts: Mapping[str, Any], dataset: Dataset) -> None:
    """Raise StoreError unless a dataset is the one that a manifest of format 2 has hashes of."""
    for field in ("queries_sha256", "gallery_sha256", "truth_sha256"):
        if getattr(dataset, field) != facts.get(field):
            raise StoreError(
                f"{path}: {field} does not match store.json: the ids, texts or targets "
                "were changed after scoring. Restore the files, or score again into a new "
                "store."
            )
