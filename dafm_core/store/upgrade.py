"""Rewrite a store of format 1 as format 2. How such a store is read is in ``format1.py``."""

from __future__ import annotations

from pathlib import Path

from dafm_core.ground.files import replacing, sha256_of, write_json
from dafm_core.store.dataset_part import REQUIRED
from dafm_core.store.locks import writing
from dafm_core.store.manifest import (
    FORMAT_VERSION,
    read_manifest,
    read_object,
    sealed,
    shared_facts,
    store_facts,
)
from dafm_core.store.store import SimilarityStore


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
