"""What a dataset is: a named protocol with gallery ids, queries, targets, subsets and exclusions.

Images are named, never opened here. How published files are read stands in one module per dataset
beside this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import polars as pl

from dafm_core.contract.items import ImageRef, Query
from dafm_core.errors import DatasetError, closest
from dafm_core.ground.groups import held_out_rows
from dafm_core.ground.ids import LONGEST_ID, Ids, hash_strings, require_id
from dafm_core.ground.ragged import Ragged

QUERY_SCHEMA: dict[str, Any] = {
    "query_id": pl.String,
    "references": pl.List(pl.String),
    "text": pl.String,
    "group": pl.String,
    "targets": pl.List(pl.String),
    "grades": pl.List(pl.Float64),
    "subset": pl.List(pl.String),
    "excluded": pl.List(pl.String),
    "candidates": pl.List(pl.String),
    "tags": pl.List(pl.String),
    "negatives": pl.List(pl.String),
}
"""Columns of a query frame: one row per query; ``queries.parquet`` of a store has exactly these.

``grades`` go with the targets, > 0, and are null where all count the same. ``candidates`` are the
only images that a query is ranked against, and null where that is the whole gallery. ``tags`` are
what a benchmark breaks its results down by, e.g. CIRCO's semantic aspects. ``negatives`` are images
that a benchmark names as wrong, e.g. PinPoint's; others may be wrong too.
"""
LATER: Final = ("negatives",)
"""Columns that stores written before them lack: empty there, and hashed only where they are not."""
LONGEST_TEXT: Final = 100_000
"""Characters of a query's text."""
LISTS = ("references", "targets", "subset", "excluded", "candidates", "negatives")
"""Columns that list image ids."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Queries, gallery and truth of one named protocol.

    Parameters
    ----------
    protocol : str
        Dataset, split, gallery and exclusions in one name, e.g. ``cirr-val``; results of two
        protocols never meet.
    gallery_ids : Ids
        Distinct, in the order of every matrix's columns.
    queries : polars.DataFrame
        Columns of :data:`QUERY_SCHEMA`, one row per query, in the order of every matrix's rows.
    images : mapping of str to Path
        Where image files should be; may lack ids, may be empty: only providers that look at pixels
        need it.
    metrics : tuple of str
        The protocol's metrics, the first being the headline, e.g. ``("recall@1", ..., "rsubset@1",
        "rmean")``.
    options : mapping of str
        Choices that change texts or membership (e.g. how two captions are joined); recorded in
        every passport.

    Raises
    ------
    DatasetError
        For an empty gallery, duplicate ids, or a frame with other columns.
    """

    protocol: str
    gallery_ids: Ids
    queries: pl.DataFrame
    images: Mapping[str, Path] = field(default_factory=dict, repr=False)
    metrics: tuple[str, ...] = ("recall@1", "recall@5", "recall@10", "recall@50")
    options: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        n_targets = int(self.targets.counts.sum())
        return (
            f"<Dataset {self.protocol}: {self.n_queries} queries, {self.n_gallery} images, "
            f"{n_targets} targets>"
        )

    def __post_init__(self) -> None:
        if self.queries.schema != pl.Schema(QUERY_SCHEMA):
            raise DatasetError(
                f"{self.protocol}: expected query columns {list(QUERY_SCHEMA)}, got "
                f"{dict(self.queries.schema)}. Build the frame with query_frame()."
            )
        if not self.gallery_ids:
            raise DatasetError(
                f"{self.protocol}: the gallery is empty. Check the split file or image folder."
            )
        gallery_ids = Ids.distinct(self.gallery_ids, where=f"{self.protocol}: gallery")
        object.__setattr__(self, "gallery_ids", gallery_ids)
        self.query_ids  # noqa: B018  # raises where an id stands twice

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dataset) and (
            (self.protocol, self.gallery_ids, self.metrics, dict(self.options))
            == (other.protocol, other.gallery_ids, other.metrics, dict(other.options))
            and self.queries.equals(other.queries)
        )

    def __hash__(self) -> int:
        return hash((self.protocol, self.queries_sha256, self.gallery_sha256))

    @cached_property
    def query_ids(self) -> Ids:
        """Query ids, in row order."""
        where = f"{self.protocol}: queries"
        return Ids.distinct(self.queries["query_id"].to_list(), where=where)

    @property
    def n_queries(self) -> int:
        """Number of queries, Q."""
        return self.queries.height

    @property
    def n_gallery(self) -> int:
        """Number of candidates, N."""
        return len(self.gallery_ids)

    @cached_property
    def groups(self) -> np.ndarray[Any, np.dtype[np.str_]]:
        """Group of each query (image set, or the query itself where there is none), shape
        (n_queries,).
        """
        return self.queries["group"].to_numpy().astype(np.str_)

    def columns(self, name: str) -> Ragged:
        """Return a column that lists image ids as gallery columns; ids outside the gallery are left
        out.
        """
        return Ragged.from_ids(self.queries[name].to_list(), self.gallery_ids.place)

    @cached_property
    def targets(self) -> Ragged:
        """Gallery columns of each query's targets."""
        return self.columns("targets")

    @cached_property
    def excluded(self) -> Ragged:
        """Gallery columns removed from each query's ranking; a target is never among them."""
        rows = zip(self.removed, self.targets, strict=True)
        return Ragged.from_rows([np.setdiff1d(row, target) for row, target in rows])

    @cached_property
    def removed(self) -> Ragged:
        """Gallery columns that a query does not rank, whatever its targets: excluded ones, and all
        others than its candidates where it has its own.
        """
        excluded = self.columns("excluded")
        listed = self.queries["candidates"].to_list()
        if all(ids is None for ids in listed):
            return excluded
        every = np.arange(self.n_gallery)
        candidates = self.columns("candidates")
        rows = zip(excluded, candidates, listed, strict=True)
        return Ragged.from_rows(
            [
                e if ids is None else np.union1d(e, np.setdiff1d(every, c, assume_unique=True))
                for e, c, ids in rows
            ]
        )

    @cached_property
    def subsets(self) -> Ragged:
        """Gallery columns of each query's hard candidates: excluded ones out, its targets in."""
        rows = zip(self.columns("subset"), self.removed, self.targets, strict=True)
        return Ragged.from_rows(
            [np.union1d(np.setdiff1d(s, e), t) if len(s) else s for s, e, t in rows]
        )

    @property
    def has_subsets(self) -> bool:
        """Whether some query names a subset, which is then ranked by itself."""
        return bool((self.queries["subset"].list.len() > 0).any())

    @cached_property
    def queries_sha256(self) -> str:
        """Hash of ids, references and texts in order: what a provider sees of the queries."""
        rows = self.queries.select("query_id", "references", "text").iter_rows()
        return hash_strings(json.dumps(row) for row in rows)

    @cached_property
    def truth_sha256(self) -> str:
        """Hash of groups, targets, grades, subsets, exclusions, candidates, tags and negatives:
        what evaluation goes by.
        """
        columns = ["group", "targets", "grades", "subset", "excluded", "candidates", "tags"]
        columns += [name for name in LATER if (self.queries[name].list.len() > 0).any()]
        return hash_strings(json.dumps(row) for row in self.queries.select(columns).iter_rows())

    @property
    def gallery_sha256(self) -> str:
        """Hash of the gallery ids in order."""
        return self.gallery_ids.sha256

    def image(self, image_id: str) -> ImageRef:
        """Return the image with its path, where one is known."""
        return ImageRef(image_id, self.images.get(image_id))

    def gallery_images(self) -> list[ImageRef]:
        """Return every candidate, in column order."""
        return [self.image(image_id) for image_id in self.gallery_ids]

    def iter_queries(self, start: int = 0, stop: int | None = None) -> list[Query]:
        """Return queries ``start:stop`` with their reference images."""
        rows = self.queries.slice(start, None if stop is None else stop - start)
        columns = rows.select("query_id", "references", "text").iter_rows()
        return [
            Query(id=query_id, references=tuple(map(self.image, ids)), text=text)
            for query_id, ids, text in columns
        ]

    def take(self, query_ids: Sequence[str]) -> Dataset:
        """Return the dataset with only these queries, in this order.

        Raises
        ------
        DatasetError
            If an id is unknown or given twice.
        """
        wanted = Ids.distinct(query_ids, where=f"{self.protocol}: query list")
        rows = self.query_ids.positions(
            wanted, where=self.protocol, what="query", error=DatasetError
        )
        return replace(self, queries=self.queries[rows])

    def take_gallery(self, gallery_ids: Sequence[str]) -> Dataset:
        """Return the dataset with only these candidates, in this order.

        A target that is left out counts as never retrieved.

        Raises
        ------
        AlignmentError
            If an image is not in the gallery.
        """
        self.gallery_ids.positions(gallery_ids, where=self.protocol, what="gallery image")
        return replace(self, gallery_ids=Ids(gallery_ids))

    def split(
        self, *, test_size: float = 0.5, group_by: str = "group", seed: int = 0
    ) -> tuple[Dataset, Dataset]:
        """Return (fit, held-out) parts that share no value of the column ``group_by``.

        Parameters
        ----------
        test_size : float, default=0.5
            Share of the groups, not of the queries, that is held out; in (0, 1).

        Raises
        ------
        DatasetError
            If there are fewer than two groups, or no such column.
        """
        if group_by not in self.queries.columns:
            raise DatasetError(
                f"{self.protocol}: no column {group_by!r}{closest(group_by, self.queries.columns)}"
            )
        held_out = held_out_rows(
            self.queries[group_by].cast(pl.String).to_list(),
            test_size=test_size,
            seed=seed,
            where=self.protocol,
        )
        return (
            replace(self, queries=self.queries.filter(~held_out)),
            replace(self, queries=self.queries.filter(held_out)),
        )

    def problems(self) -> list[str]:
        """Return one line for each kind of id that means nothing here: how many, and which first.

        A target outside the gallery counts as never retrieved; a reference outside it cannot be
        excluded from a ranking; a subset member, an exclusion or a candidate outside it is left
        out. A target that is excluded for its own query stays in that ranking.
        """
        lines = []
        for column in LISTS:
            ids = self.queries[column].explode().drop_nulls().unique().to_list()
            missing = sorted(set(ids) - self.gallery_ids.place.keys())
            if missing:
                lines.append(
                    f"{self.protocol}: {len(missing)} of the images in {column!r} are not in the "
                    f"gallery: {_some(missing)}"
                )
        both = pl.col("targets").list.set_intersection("excluded").list.len() > 0
        torn = self.queries.filter(both)["query_id"].to_list()
        if torn:
            lines.append(
                f"{self.protocol}: {len(torn)} queries exclude their own target, which stays in "
                f"the ranking: {_some(torn)}"
            )
        named = (self.queries["targets"].list.len() > 0).to_numpy()
        for rows, what in (
            (named & (self.targets.counts == 0), "have no target in the gallery"),
            (~named & named.any(), "name no target and are not measured"),
        ):
            lacking = [self.query_ids[row] for row in np.flatnonzero(rows)]
            if lacking:
                lines.append(
                    f"{self.protocol}: {len(lacking)} of {self.n_queries} queries {what}: "
                    f"{_some(lacking)}"
                )
        return lines


def with_later_columns(queries: pl.DataFrame) -> pl.DataFrame:
    """Return the queries of an older store with the columns that came later, empty."""
    absent = [name for name in LATER if name not in queries.columns]
    return queries.with_columns(pl.lit([], dtype=QUERY_SCHEMA[n]).alias(n) for n in absent)


def query_frame(rows: Iterable[Mapping[str, Any]], *, where: str) -> pl.DataFrame:
    """Return a query frame from rows with at least ``query_id, text`` and a reference.

    ``reference`` names one image, ``references`` any number of them, none included. A missing
    ``group`` becomes the query id (a group of its own); missing lists become empty, but a missing
    ``candidates`` is the whole gallery. ``where`` names the file.

    Raises
    ------
    DatasetError
        If a row lacks a required field, or has one of another type, or an id or a text that is too
        long or cannot be written.
    """
    table: dict[str, list[Any]] = {name: [] for name in QUERY_SCHEMA}
    for number, row in enumerate(rows):
        place = f"{where}: query {number}"
        for name in ("query_id", "text"):
            if not isinstance(row.get(name), str):
                raise DatasetError(f"{place}: expected text in {name!r}, got {row.get(name)!r}.")
            table[name].append(row[name])
        group = row.get("group")
        table["group"].append(str(row["query_id"]) if group is None else str(group))
        table["references"].append(_references(row, place))
        for name in ("targets", "subset", "excluded", "tags", "negatives"):
            table[name].append(_ids(row.get(name) or [], name, place))
        candidates = row.get("candidates")
        table["candidates"].append(
            None if candidates is None else _ids(candidates, "candidates", place)
        )
        table["grades"].append(_grades(row, place))
    try:
        frame = pl.DataFrame(table, schema=QUERY_SCHEMA)
    except UnicodeEncodeError:
        frame = None
    if frame is None or _longest(frame, "text") > LONGEST_TEXT or _longest_id(frame) > LONGEST_ID:
        _refuse_texts(table, where)
    return frame


def _longest(frame: pl.DataFrame, name: str) -> int:
    """Return the characters of the longest text of a column, of its lists where it has lists."""
    column = frame[name].explode() if isinstance(QUERY_SCHEMA[name], pl.List) else frame[name]
    return int(column.str.len_chars().max() or 0)  # type: ignore[arg-type]  # of a text


def _longest_id(frame: pl.DataFrame) -> int:
    return max(_longest(frame, name) for name in ("query_id", "group", "tags", *LISTS))


def _refuse_texts(table: Mapping[str, Sequence[Any]], where: str) -> NoReturn:
    """Raise for the first id or text that is too long, or that UTF-8 cannot hold."""
    for name in ("query_id", "text", "group", "tags", *LISTS):
        longest = LONGEST_TEXT if name == "text" else LONGEST_ID
        for number, value in enumerate(table[name]):
            for text in [value] if isinstance(value, str) else value or []:
                require_id(text, where=f"{where}: query {number}: {name!r}", longest=longest)
    raise AssertionError("unreachable: some text was too long or could not be encoded")


def _references(row: Mapping[str, Any], place: str) -> list[str]:
    if row.get("references") is not None:
        return _ids(row["references"], "references", place)
    if not isinstance(row.get("reference"), str):
        raise DatasetError(
            f"{place}: expected text in 'reference', got {row.get('reference')!r}. List the images "
            "in 'references' where there are none or several."
        )
    return [row["reference"]]


def _ids(ids: Any, name: str, place: str) -> list[str]:
    if isinstance(ids, str | Mapping) or not all(isinstance(i, str) for i in ids):
        raise DatasetError(f"{place}: {name!r} must list texts, got {ids!r}.")
    return list(ids)


def _grades(row: Mapping[str, Any], place: str) -> list[float] | None:
    grades = row.get("grades")
    if grades is None:
        return None
    n_targets = len(row.get("targets") or [])
    valid = isinstance(grades, list | tuple) and all(
        isinstance(g, int | float) and not isinstance(g, bool) and 0 < g < float("inf")
        for g in grades
    )
    if not valid or len(grades) != n_targets:
        raise DatasetError(
            f"{place}: expected one grade above 0 per target ({n_targets}), got {grades!r}."
        )
    return [float(grade) for grade in grades]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
