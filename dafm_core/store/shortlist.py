"""Rows that cover a shortlist: per query some candidates with scores, the rest unknown.

A production engine lists its best hundred, a verifier scores the fifty it was asked about. In a
tile an unknown cell is NaN, an excluded one -inf.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import AlignmentError, SimilarityError, StoreError
from dafm_core.ground.files import replacing
from dafm_core.ground.ids import Ids
from dafm_core.ground.ragged import Ragged
from dafm_core.ground.sources import source_table

Unknown: TypeAlias = Literal["below", "not-asked"]
"""What an unlisted candidate is: below the last listed score (a list of the best), or simply not
asked about (a verifier)."""

SCHEMA: Final = {"query": pl.String, "candidate": pl.String, "score": pl.Float32}


@dataclass(frozen=True, eq=False)
class Shortlist:
    """Scores of the listed candidates of each query, by row and column; indexed like a matrix.

    Parameters
    ----------
    offsets : ndarray of shape (n_queries + 1,), int64
    columns : ndarray of shape (n_listed,), int64
        Ascending within each query.
    scores : ndarray of shape (n_listed,), float32
    n_gallery : int

    Examples
    --------
    >>> listed = Shortlist(np.array([0, 2, 3]), np.array([0, 2, 1]), np.float32([5, 3, 7]), 3)
    >>> listed[[0, 1]]
    array([[ 5., nan,  3.],
           [nan,  7., nan]], dtype=float32)
    """

    offsets: NDArray[np.int64]
    columns: NDArray[np.int64]
    scores: NDArray[np.float32]
    n_gallery: int

    @classmethod
    def of_lists(
        cls,
        columns: Sequence[NDArray[np.int64]],
        scores: Sequence[NDArray[np.float32]],
        n_gallery: int,
    ) -> Shortlist:
        """Return the shortlist of one array of columns, and one of scores, per query."""
        orders = [np.argsort(c, kind="stable") for c in columns]
        offsets = np.concatenate([[0], np.cumsum([len(c) for c in columns])]).astype(np.int64)
        flat = [c[o] for c, o in zip(columns, orders, strict=True)]
        values = [s[o] for s, o in zip(scores, orders, strict=True)]
        return cls(
            offsets,
            np.concatenate(flat).astype(np.int64) if flat else np.empty(0, np.int64),
            np.concatenate(values).astype(np.float32) if values else np.empty(0, np.float32),
            n_gallery,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Queries and candidates."""
        return len(self.offsets) - 1, self.n_gallery

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Of the scores."""
        return np.dtype(np.float32)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Listed candidates of each query."""
        return np.diff(self.offsets)

    def covers_all(self, excluded: Ragged) -> bool:
        """Say whether every query lists every candidate that is not excluded for it."""
        if (self.counts + excluded.counts < self.n_gallery).any():
            return False
        width = self.n_gallery
        listed = np.repeat(np.arange(len(self.counts)), self.counts) * width + self.columns
        away = np.setdiff1d(excluded.rows * width + excluded.values, listed)
        return len(listed) + len(away) == len(self.counts) * width

    def __getitem__(self, rows: ArrayLike) -> NDArray[np.float32]:
        wanted = np.asarray(rows, dtype=np.int64)
        block = np.full((len(wanted), self.n_gallery), np.nan, np.float32)
        for i, row in enumerate(wanted):
            cells = slice(self.offsets[row], self.offsets[row + 1])
            block[i, self.columns[cells]] = self.scores[cells]
        return block

    def frame(self, dataset: Dataset) -> pl.DataFrame:
        """Return ``query, candidate, score``, sorted by row and column."""
        rows = np.repeat(np.arange(dataset.n_queries), self.counts)
        ids = pl.Series(list(dataset.gallery_ids), dtype=pl.String)
        queries = pl.Series(list(dataset.query_ids), dtype=pl.String)
        return pl.DataFrame(
            {
                "query": queries.gather(rows),
                "candidate": ids.gather(self.columns),
                "score": self.scores,
            },
            schema=SCHEMA,
        )

    @classmethod
    def align(cls, frame: pl.DataFrame, dataset: Dataset, *, where: str) -> Shortlist:
        """Return the lists of a frame by a dataset's rows and columns.

        Raises
        ------
        AlignmentError
            If an id is unknown, or a candidate stands twice in a list.
        SimilarityError
            If a score is NaN or infinite.
        """
        queries, candidates = (Ids(frame[name]) for name in ("query", "candidate"))
        rows = queries.where_in(dataset.query_ids)
        columns = candidates.where_in(dataset.gallery_ids)
        for what, ids, places in (("query", queries, rows), ("image", candidates, columns)):
            unknown = sorted({ids[i] for i in np.flatnonzero(places < 0)})
            if unknown:
                raise AlignmentError(
                    f"{where}: {len(unknown)} {what} ids are unknown to the store, e.g. "
                    f"{unknown[0]!r}. Is it the same split?"
                )
        scores = frame["score"].cast(pl.Float32).to_numpy()
        finite = np.isfinite(scores)
        if not finite.all():
            bad = int(np.argmin(finite))
            raise SimilarityError(
                f"{where}: expected finite scores, got {scores[bad]} (query {queries[bad]!r}, "
                f"image {candidates[bad]!r})."
            )
        order = np.lexsort((columns, rows))
        rows, columns, scores = rows[order], columns[order], scores[order]
        twice = np.flatnonzero((np.diff(rows) == 0) & (np.diff(columns) == 0))
        if len(twice):
            raise AlignmentError(
                f"{where}: query {dataset.query_ids[rows[twice[0]]]!r} lists image "
                f"{dataset.gallery_ids[columns[twice[0]]]!r} twice. Keep the better one."
            )
        counts = np.bincount(rows, minlength=dataset.n_queries)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(offsets, columns, scores, dataset.n_gallery)


def write_shortlist(path: Path, shortlist: Shortlist, dataset: Dataset) -> None:
    """Write ``shortlist.parquet``, whole or not at all."""
    with replacing(path) as temporary:
        shortlist.frame(dataset).write_parquet(temporary)


def read_shortlist(path: Path, dataset: Dataset) -> Shortlist:
    """Return what :func:`write_shortlist` wrote; raise StoreError where it is damaged."""
    try:
        frame = source_table(path).select(list(SCHEMA))
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise StoreError(f"{path}: cannot be read ({error}). Score it again.") from None
    try:
        return Shortlist.align(frame, dataset, where=str(path))
    except (AlignmentError, SimilarityError) as error:
        raise StoreError(f"{error} The file is damaged: score it again.") from None


def unknown_of(passport: dict[str, Any] | Any) -> Unknown | None:
    """Return what unlisted candidates are under a passport; None for a dense matrix."""
    if passport.get("kind") != "shortlist":
        return None
    return "not-asked" if passport.get("unknown") == "not-asked" else "below"
