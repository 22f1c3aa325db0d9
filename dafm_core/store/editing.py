"""Split a store by queries and merge the parts again: score on several machines, evaluate in one
place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dafm_core.errors import AlignmentError
from dafm_core.store.store import SimilarityStore

# Facts that the writer of a store adds itself; all others are carried over.
_WRITTEN = ("provider", "protocol", "queries_sha256", "gallery_sha256", "dataset_options")
_COUNTED = ("dtype", "block_rows", "tied_share", "blocks", "files", "format", "sha256")


def split_store(
    store: SimilarityStore, query_ids: Sequence[str], path: str | Path
) -> SimilarityStore:
    """Write a new store that holds only these queries, in this order.

    Raises
    ------
    DatasetError
        If a query is unknown or given twice.
    StoreError
        If there is something at ``path``.
    """
    part = SimilarityStore.create(path, store.dataset.take(query_ids))
    rows = store.dataset.query_ids.positions(query_ids)
    for name in store.providers:
        _copy(part, name, [(store, rows)])
    return part


def merge_stores(
    parts: Sequence[SimilarityStore], path: str | Path, *, query_ids: Sequence[str] | None = None
) -> SimilarityStore:
    """Write a new store that holds the queries of all parts.

    Parameters
    ----------
    parts : sequence of SimilarityStore
        Of one protocol and gallery, with the same providers and no query in common.
    query_ids : sequence of str, optional
        Order of the queries; part after part by default.

    Raises
    ------
    AlignmentError
        If the parts do not belong together; says in what.
    """
    first = parts[0]
    for part in parts[1:]:
        for what in ("protocol", "providers"):
            if getattr(part, what) != getattr(first, what):
                raise AlignmentError(
                    f"{part.path}: expected {what} {getattr(first, what)!r}, as {first.path}, got "
                    f"{getattr(part, what)!r}. Merge stores of the same models and protocol."
                )
        if part.dataset.gallery_ids != first.dataset.gallery_ids:
            raise AlignmentError(f"{part.path}: another gallery than {first.path}'s.")
    frame = pl.concat([part.dataset.queries for part in parts])
    dataset = replace(first.dataset, queries=frame)
    order = list(query_ids or dataset.query_ids)
    if sorted(order) != sorted(dataset.query_ids):
        raise AlignmentError("merge: the order must list each query of the parts once.")
    merged = SimilarityStore.create(path, dataset.take(order))
    for name in first.providers:
        passports = [_carried(part, name) for part in parts]
        if any(passport != passports[0] for passport in passports):
            raise AlignmentError(f"merge: the passports of {name!r} differ. Score them alike.")
        sources = [(part, np.arange(part.dataset.n_queries)) for part in parts]
        _copy(merged, name, sources, order=dataset.query_ids.positions(order))
    return merged


def _copy(
    target: SimilarityStore,
    name: str,
    sources: Sequence[tuple[SimilarityStore, np.ndarray[Any, np.dtype[np.int64]]]],
    order: np.ndarray[Any, np.dtype[np.int64]] | None = None,
) -> None:
    """Copy rows of several matrices, block by block, into one of the target store."""
    source = sources[0][0]
    owner = np.repeat(np.arange(len(sources)), [len(rows) for _, rows in sources])
    rows = np.concatenate([rows for _, rows in sources])
    if order is not None:
        owner, rows = owner[order], rows[order]
    matrices = [part.scores(name) for part, _ in sources]
    with target.writer(
        name,
        passport=_carried(source, name),
        dtype=str(matrices[0].dtype),
        block_rows=source.passport(name)["block_rows"],
    ) as writer:
        for start, stop in writer.pending():
            block = np.empty((stop - start, matrices[0].shape[1]), matrices[0].dtype)
            for number, matrix in enumerate(matrices):
                here = owner[start:stop] == number
                block[here] = matrix[rows[start:stop][here]]
            writer.write(start, block)
        writer.add_neighbours(source.neighbours(name))


def _carried(store: SimilarityStore, name: str) -> dict[str, Any]:
    passport = store.passport(name)
    return {k: v for k, v in passport.items() if k not in (*_WRITTEN, *_COUNTED)}
