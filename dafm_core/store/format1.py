"""Stores of format 1: opened to read, and rewritten as format 2 by ``dafm upgrade``.

Format 1 had one reference per query, no grades and no candidates; hashes did not cover targets, and
passports did not name their store's files. CIRCO always excluded the reference, which is now a
protocol of its own, ``circo-...-exclude``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import polars as pl

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import QUERY_SCHEMA
from dafm_core.errors import StoreError
from dafm_core.ground.ids import hash_strings

if TYPE_CHECKING:
    pass


def refuse(path: Path) -> NoReturn:
    """Raise StoreError: a store of format 1 is read only."""
    raise StoreError(
        f"{path}: a store of format 1 can only be read. Run dafm upgrade {path} first."
    )


def queries_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the queries of a store of format 1 with today's columns."""
    if "references" in frame.columns:
        return frame  # an upgrade was interrupted after this file was written
    return frame.with_columns(
        references=pl.concat_list("reference"),
        grades=pl.lit(None, dtype=QUERY_SCHEMA["grades"]),
        candidates=pl.lit(None, dtype=QUERY_SCHEMA["candidates"]),
        tags=pl.lit([], dtype=QUERY_SCHEMA["tags"]),
    )


def protocol_of(protocol: str) -> str:
    """Return what a protocol of format 1 is called today.

    Examples
    --------
    >>> protocol_of("circo-val"), protocol_of("cirr-val")
    ('circo-val-exclude', 'cirr-val')
    """
    is_circo = protocol.startswith("circo-") and not protocol.endswith("-exclude")
    return f"{protocol}-exclude" if is_circo else protocol


def check(path: Path, facts: Mapping[str, Any], dataset: Dataset) -> None:
    """Raise StoreError unless ids and texts are those that the store was made with."""
    rows = dataset.queries.select("query_id", "references", "text").iter_rows()
    queries = hash_strings(
        text for i, references, words in rows for text in (i, *references, words)
    )
    if (queries, dataset.gallery_sha256) != (facts["queries_sha256"], facts["gallery_sha256"]):
        raise StoreError(
            f"{path}: the ids do not match store.json: they were changed after scoring. Restore "
            "the files, or score again into a new store."
        )
