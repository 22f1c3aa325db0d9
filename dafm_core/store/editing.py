"""Split a store by queries and merge the parts again: score on several machines, evaluate in one
place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError, StoreError
from dafm_core.store.manifest import read_object
from dafm_core.store.shortlist import Shortlist, unknown_of
from dafm_core.store.store import SimilarityStore
from dafm_core.store.subset_file import MANIFEST

# Facts that the writers of a store add themselves; all others are carried over.
_WRITTEN = ("provider", "protocol", "queries_sha256", "gallery_sha256", "dataset_options")
_COUNTED = ("dtype", "block_rows", "tied_share", "blocks", "files", "format", "sha256")
_LISTED = ("kind", "unknown", "n_listed", "shortest", "scores_sha256", "columns_sha256")
Sources: TypeAlias = Sequence[tuple[SimilarityStore, NDArray[np.int64]]]


def split_store(
    store: SimilarityStore, query_ids: Sequence[str], path: str | Path
) -> SimilarityStore:
    """Write a new store that holds only these queries, in this order.

    Raises
    ------
    DatasetError
        If a query is unknown or given twice.
    StoreError
        If another store is at ``path``, or there is no provider to copy.
    """
    dataset = store.dataset.take(query_ids)
    _check_goal(path, store)
    rows = store.dataset.query_ids.positions(query_ids)
    with SimilarityStore.filling(path, dataset) as part:
        for name in store.providers:
            _copy(part, name, [(store, rows)])
            _copy_subset(part, name, [(store, rows)])
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
    DatasetError
        If a query is in two parts.
    StoreError
        If another store is at ``path``, or there is no provider to copy.
    """
    if not parts:
        raise AlignmentError("merge: expected at least one store, got none.")
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
        if dict(part.dataset.options) != dict(first.dataset.options):
            raise AlignmentError(f"{part.path}: other dataset options than {first.path}'s.")
    frame = pl.concat([part.dataset.queries for part in parts])
    dataset = replace(first.dataset, queries=frame)
    order = list(query_ids or dataset.query_ids)
    if sorted(order) != sorted(dataset.query_ids):
        raise AlignmentError("merge: the order must list each query of the parts once.")
    for name in first.providers:
        passports = [
            (
                _carried(part, name),
                unknown_of(part.passport(name)),
                (part.path / name / MANIFEST).exists() and _subset_sources(part, name),
            )
            for part in parts
        ]
        if any(passport != passports[0] for passport in passports):
            raise AlignmentError(f"merge: the passports of {name!r} differ. Score them alike.")
    _check_goal(path, first)
    with SimilarityStore.filling(path, dataset.take(order)) as merged:
        for name in first.providers:
            sources = [(part, np.arange(part.dataset.n_queries)) for part in parts]
            positions = dataset.query_ids.positions(order)
            _copy(merged, name, sources, order=positions)
            _copy_subset(merged, name, sources, order=positions)
    return merged


def _check_goal(path: str | Path, source: SimilarityStore) -> None:
    """Raise StoreError where nothing would come into the new store, or others' scores are in it.

    What an interrupted copy has left is no obstacle: the same command finishes it.
    """
    if not source.providers:
        raise StoreError(f"{source.path}: nothing is scored yet. Run dafm score first.")
    if (Path(path) / "store.json").exists():
        others = set(SimilarityStore.open(path).providers) - set(source.providers)
        if others:
            raise StoreError(
                f"{path}: expected a new folder, got a store with {', '.join(sorted(others))}. "
                "Choose another, or remove it."
            )


def _copy(
    target: SimilarityStore,
    name: str,
    sources: Sources,
    order: NDArray[np.int64] | None = None,
) -> None:
    """Copy rows of several stores into one provider of the target store."""
    owner = np.repeat(np.arange(len(sources)), [len(rows) for _, rows in sources])
    rows = np.concatenate([rows for _, rows in sources])
    if order is not None:
        owner, rows = owner[order], rows[order]
    matrices = [part.scores(name) for part, _ in sources]
    lists = [matrix for matrix in matrices if isinstance(matrix, Shortlist)]
    dense = [matrix for matrix in matrices if not isinstance(matrix, Shortlist)]
    source = sources[0][0]
    if not dense:
        unknown = unknown_of(source.passport(name)) or "below"
        listed = _gathered(lists, owner, rows)
        target.write_shortlist(name, listed, passport=_carried(source, name), unknown=unknown)
        return
    with target.writer(
        name,
        passport=_carried(source, name),
        dtype=str(dense[0].dtype),
        block_rows=source.passport(name)["block_rows"],
    ) as writer:
        for start, stop in writer.pending():
            block = np.empty((stop - start, dense[0].shape[1]), dense[0].dtype)
            for number, matrix in enumerate(dense):
                here = owner[start:stop] == number
                block[here] = matrix[rows[start:stop][here]]
            writer.write(start, block)
        writer.add_neighbours(source.neighbours(name))


def _copy_subset(
    target: SimilarityStore,
    name: str,
    sources: Sources,
    order: NDArray[np.int64] | None = None,
) -> None:
    """Copy a provider's own ranking of the subsets, where it has one."""
    lists = [listed for part, _ in sources if (listed := part.subset(name)) is not None]
    if not lists:
        return
    owner = np.repeat(np.arange(len(sources)), [len(rows) for _, rows in sources])
    rows = np.concatenate([rows for _, rows in sources])
    if order is not None:
        owner, rows = owner[order], rows[order]
    listed = _gathered(lists, owner, rows)
    target.write_subset(name, listed, sources=_subset_sources(sources[0][0], name))


def _subset_sources(store: SimilarityStore, name: str) -> dict[str, Any]:
    sources: dict[str, Any] = read_object(store.path / name / MANIFEST)["sources"]
    return sources


def _gathered(
    lists: Sequence[Shortlist], owner: NDArray[np.int64], rows: NDArray[np.int64]
) -> Shortlist:
    """Return the lists of the queries at ``rows`` of the shortlists that own them."""
    cells = [
        (lists[number], slice(lists[number].offsets[row], lists[number].offsets[row + 1]))
        for number, row in zip(owner.tolist(), rows.tolist(), strict=True)
    ]
    columns = [listed.columns[part] for listed, part in cells]
    scores = [listed.scores[part] for listed, part in cells]
    return Shortlist.of_lists(columns, scores, lists[0].n_gallery)


def _carried(store: SimilarityStore, name: str) -> dict[str, Any]:
    """Return what a passport says of the model, without what the writer adds itself."""
    passport = store.passport(name)
    left_out = (*_WRITTEN, *_COUNTED, *_LISTED)
    return {key: value for key, value in passport.items() if key not in left_out}
