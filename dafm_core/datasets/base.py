"""What a dataset is: a named protocol with gallery ids, queries, targets, subsets and exclusions.

Images are named, never opened here. How published files are read stands in one module per dataset
beside this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dafm_core.contract.items import ImageRef, Query
from dafm_core.datasets.query_frame import LATER, LISTS, QUERY_SCHEMA
from dafm_core.errors import DatasetError, closest, expect
from dafm_core.ground.groups import held_out_rows
from dafm_core.ground.ids import Ids, hash_strings
from dafm_core.ground.ragged import Ragged


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
        expect(self.protocol, str, where="dataset: protocol")
        expect(self.queries, pl.DataFrame, where=f"{self.protocol}: queries")
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
        return self.removed.without(self.targets)

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
        named = self.columns("subset")
        return named.without(self.removed).union(self.targets.where(named.counts > 0))

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


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
