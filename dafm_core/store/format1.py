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

from dafm_core.datasets.base import QUERY_SCHEMA, Dataset
from dafm_core.errors import StoreError
from dafm_core.ground.files import replacing, sha256_of, write_json
from dafm_core.ground.ids import hash_strings
from dafm_core.store.locks import writing
from dafm_core.store.manifest import (
    FORMAT_VERSION,
    read_manifest,
    read_object,
    sealed,
    shared_facts,
    store_facts,
)

if TYPE_CHECKING:
    from dafm_core.store.store import SimilarityStore


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


def upgrade(path: str | Path) -> list[str] | None:
    """Rewrite a store of format 1 as format 2, in place; scores are not touched.

    Safe to repeat after a kill: ``store.json`` is written last.

    Returns
    -------
    list of str or None
        Providers of the store; None where it was of format 2 already.

    Raises
    ------
    StoreError
        If there is no store, or it is damaged.
    """
    from dafm_core.store.store import REQUIRED, SimilarityStore

    path = Path(path)
    store = SimilarityStore.open(path)
    facts = read_manifest(path / "store.json", required=REQUIRED)
    if facts["format"] == FORMAT_VERSION:
        return None
    dataset = store.dataset
    with writing(path, "store.json"):
        for name in store.providers:
            if read_object(path / name / "passport.json").get("format") != FORMAT_VERSION:
                _upgrade_passport(store, name)
        with replacing(path / "queries.parquet") as temporary:
            dataset.queries.write_parquet(temporary)
        write_json(path / "store.json", sealed(store_facts(dataset)))
    return list(store.providers)


def _upgrade_passport(store: SimilarityStore, name: str) -> None:
    """Seal one provider's passport, with the hash of its neighbours and today's hashes."""
    old = store.passport(name)
    neighbours = store.path / name / "neighbours.npy"
    files = {neighbours.name: sha256_of(neighbours)} if neighbours.exists() else {}
    read = {"sources": old["files"]} if "files" in old else {}  # what an import was made from
    facts = {"format": FORMAT_VERSION, **shared_facts(store.dataset), **read, "files": files}
    write_json(store.path / name / "passport.json", sealed({**old, **facts}))
