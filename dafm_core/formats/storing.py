"""Rows and lists of an import, checked and then written into a store, block by block.

What they are made from is ``importing.py``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import OptionError, SimilarityError, StoreError, closest
from dafm_core.formats.lists import ListedScores, is_excluded
from dafm_core.scoring.neighbours import nearest_neighbours
from dafm_core.store.given import MAX_COLLAPSED
from dafm_core.store.store import SimilarityStore
from dafm_core.store.unit import SCORE_DTYPES

BLOCK_ROWS: Final = 256


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import did beyond what the passport says.

    Parameters
    ----------
    written : bool
        False where the store had the same scores already.
    n_queries_left_out, n_images_left_out : int
        Queries and images of the file that the store does not have.
    n_collapsed : int
        Cells that differ in the file and are equal as stored.
    """

    written: bool
    n_queries_left_out: int
    n_images_left_out: int
    n_collapsed: int

    def notes(self) -> list[str]:
        """Return what a user should know, a line per finding."""
        left_out = ((self.n_queries_left_out, "queries"), (self.n_images_left_out, "images"))
        lines = [
            f"{n} {what} of the file are not in the store and were left out"
            for n, what in left_out
            if n
        ]
        if self.n_collapsed:
            lines.append(
                f"{self.n_collapsed} scores that differ in the file are equal as stored, and tie"
            )
        return lines


class Rows(Protocol):
    """Scores of a store's queries against its gallery, a few rows at a time."""

    def rows(self, start: int, stop: int, dtype: str) -> NDArray[Any]:
        """Return scores ``(stop - start, n_gallery)``."""
        ...

    def collapsed(self, start: int, stop: int, dtype: str) -> int:
        """Return how many different scores of these rows become equal in a dtype."""
        ...

    @property
    def left_out(self) -> tuple[int, int]:
        """Queries and images of the file that the store does not have."""
        ...


@dataclass(frozen=True)
class FullLists:
    """Lists that name every candidate, as rows; -inf where one is excluded and not listed."""

    listed: ListedScores

    @property
    def left_out(self) -> tuple[int, int]:
        """Queries and images of the file that the store does not have."""
        return self.listed.left_out

    def rows(self, start: int, stop: int, dtype: str) -> NDArray[Any]:
        """Return scores ``(stop - start, n_gallery)``."""
        block = self.listed.shortlist(dtype)[np.arange(start, stop)].astype(dtype)
        return np.where(np.isnan(block), block.dtype.type(-np.inf), block)

    def collapsed(self, start: int, stop: int, dtype: str) -> int:
        """Return how many different scores of these rows become equal in a dtype."""
        return self.listed.collapsed(start, stop, dtype)


def write_rows(
    store: SimilarityStore,
    name: str,
    rows: Rows,
    passport: Mapping[str, Any],
    *,
    dtype: str,
    overwrite: bool,
    features: NDArray[np.float32] | None = None,
) -> Imported:
    """Check every block, then write every block."""
    dataset, n_collapsed = store.dataset, 0
    for start, stop in _blocks(dataset.n_queries):
        _check_finite(rows.rows(start, stop, dtype), start, dataset, name)
        n_collapsed += rows.collapsed(start, stop, dtype)
    _check_collapsed(name, n_collapsed, dataset.n_queries * dataset.n_gallery, dtype)
    with store.writer(
        name, passport=passport, dtype=dtype, block_rows=BLOCK_ROWS, overwrite=overwrite
    ) as writer:
        if writer.complete:
            _check_unchanged(store, name, rows, dtype)
        for start, stop in writer.pending():
            writer.write(start, rows.rows(start, stop, dtype))
        if features is not None:
            writer.add_neighbours(nearest_neighbours(features))
        written = not writer.complete
    n_queries, n_images = rows.left_out
    return Imported(
        written=written,
        n_queries_left_out=n_queries,
        n_images_left_out=n_images,
        n_collapsed=n_collapsed,
    )


def write_lists(
    store: SimilarityStore,
    name: str,
    listed: ListedScores,
    passport: Mapping[str, Any],
    *,
    dtype: str,
    overwrite: bool,
) -> Imported:
    """Check lists that leave candidates out, then write them as shortlists."""
    if dtype not in SCORE_DTYPES:
        raise OptionError(f"import: dtype {dtype!r}{closest(dtype, SCORE_DTYPES)}")
    dataset, shortlist = store.dataset, listed.shortlist(dtype)
    wrong = np.flatnonzero(~np.isfinite(shortlist.scores))
    if len(wrong):
        row = int(np.searchsorted(shortlist.offsets, wrong[0], side="right")) - 1
        raise SimilarityError(
            f"provider {name!r}: expected finite {dtype} scores, got {shortlist.scores[wrong[0]]} "
            f"for query {dataset.query_ids[row]!r}, image "
            f"{dataset.gallery_ids[shortlist.columns[wrong[0]]]!r}. Divide by a common factor."
        )
    n_collapsed = listed.collapsed(0, dataset.n_queries, dtype)
    _check_collapsed(name, n_collapsed, len(shortlist.scores), dtype)
    written = overwrite or name not in store.providers
    with store.replacing_answers(name, overwrite=overwrite):
        store.write_shortlist(
            name, shortlist, passport=passport, unknown="below", overwrite=overwrite
        )
    n_queries, n_images = listed.left_out
    return Imported(
        written=written,
        n_queries_left_out=n_queries,
        n_images_left_out=n_images,
        n_collapsed=n_collapsed,
    )


def _check_collapsed(name: str, n_collapsed: int, n_cells: int, dtype: str) -> None:
    """Raise SimilarityError where too many scores that differ in the file would become equal."""
    if dtype == "float32" and n_collapsed > MAX_COLLAPSED * n_cells:
        raise SimilarityError(
            f"provider {name!r}: expected scores that float32 tells apart, got {n_collapsed} of "
            f"{n_cells} that differ in the file and become equal. Take each query's mean away, or "
            "divide by a common factor, before saving."
        )


def _check_unchanged(store: SimilarityStore, name: str, rows: Rows, dtype: str) -> None:
    """Raise StoreError where the stored scores are others than those of the file.

    A passport names files, options and facts; what else an import depends on (a list beside the
    file, say) shows in the scores only.
    """
    stored = store.matrix(name)
    for start, stop in _blocks(len(stored)):
        differ = (stored[start:stop] != rows.rows(start, stop, dtype)).any(axis=1)
        if differ.any():
            query = store.dataset.query_ids[start + int(np.argmax(differ))]
            raise StoreError(
                f"{store.path}: provider {name!r} is there with other scores, e.g. of query "
                f"{query!r}: nothing was changed. Import under another --provider NAME, or replace "
                "it with --overwrite."
            )


def _blocks(n_rows: int) -> Iterator[tuple[int, int]]:
    starts = range(0, n_rows, BLOCK_ROWS)
    return ((start, min(start + BLOCK_ROWS, n_rows)) for start in starts)


def _check_finite(block: NDArray[Any], start: int, dataset: Dataset, name: str) -> None:
    """Raise SimilarityError at a cell that is not finite, but for -inf where one is excluded."""
    rows, columns = np.nonzero(~np.isfinite(block))
    masked = np.isneginf(block[rows, columns]) & is_excluded(dataset, rows + start, columns)
    if not masked.all():
        bad = int(np.argmin(masked))
        row, column = int(rows[bad]), int(columns[bad])
        raise SimilarityError(
            f"provider {name!r}: expected finite {block.dtype} scores, got {block[row, column]} "
            f"for query {dataset.query_ids[start + row]!r}, image {dataset.gallery_ids[column]!r}. "
            f"Only images that {dataset.protocol} excludes may have -inf; give the rest a score."
        )
