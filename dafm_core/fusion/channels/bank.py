"""A query bank: how each candidate is scored whatever is asked, learned from other queries.

It joins three views: the mean and spread of each column, ``reverse_ranks.py`` and ``topics.py``.
Which channels are made of them stands in ``view.py``; whose queries may fill it, in ``fuser.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import compress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError, OptionError
from dafm_core.fusion.channels.families import BANK_FAMILIES
from dafm_core.fusion.channels.reverse_ranks import ReverseRanks
from dafm_core.fusion.channels.sketch import (
    ColumnSketch,
    cells_of,
    merged_moments,
    merged_ranks,
    rows_of,
    sketch_loops,
)
from dafm_core.fusion.channels.topics import Topics
from dafm_core.ground.groups import deal_groups
from dafm_core.ground.ids import Ids
from dafm_core.ground.normalize import ColumnStatistics, column_moments, zscore_rows
from dafm_core.ground.room import empty
from dafm_core.store.gallery import Gallery
from dafm_core.store.rows import CACHED_BYTES
from dafm_core.store.stack import SimilarityStack

WHOLE_BYTES: Final = 1 << 28
"""Memory of scores that are held all at once: columns of more do not fit in the cache when they are
sorted. More are read a batch at a time, and topics are found from sums of queries.
"""
MAX_BYTES: Final = 1 << 30
"""Memory of the scores of a batch."""
MAX_MIXTURES: Final = 512
"""Such sums, of all queries together."""
N_PRIOR: Final = 10.0
"""Queries that the prior (columns as they are) counts for; nothing beside a bank of a thousand."""


@dataclass(frozen=True, eq=False)
class QueryBank:
    """What a bank's row-standardised scores say of each candidate.

    Parameters
    ----------
    names : tuple of str
        Providers.
    gallery_ids : Ids
    statistics : ColumnStatistics of shape (n_names, n_gallery)
    reverse_ranks : ReverseRanks
    topics : Topics
    """

    names: tuple[str, ...]
    gallery_ids: Ids
    statistics: ColumnStatistics
    reverse_ranks: ReverseRanks
    topics: Topics

    @classmethod
    def of(cls, stack: SimilarityStack) -> QueryBank:
        """Return the bank of all queries of a stack."""
        if _fits(stack):
            scores = _standardised(stack)
            return cls._of_scores(stack.gallery, scores, ReverseRanks.of(scores))
        sketches = list(_sketches(stack, np.arange(stack.n_queries)))
        (ranks,) = merged_ranks(sketches, np.full((1, len(sketches)), True), sketch_loops())
        return cls._of_sketches(stack.gallery, sketches, ranks)

    @classmethod
    def _of_sketches(
        cls, gallery: Gallery, sketches: Sequence[ColumnSketch], ranks: ReverseRanks
    ) -> QueryBank:
        """Return the bank of queries that were read a batch at a time."""
        statistics = ColumnStatistics.of_moments(merged_moments(sketches), n_prior=N_PRIOR)
        return cls(
            names=gallery.names,
            gallery_ids=gallery.ids,
            statistics=statistics,
            reverse_ranks=ranks,
            topics=Topics.of_mixtures([sketch.mixtures for sketch in sketches], statistics),
        )

    @classmethod
    def _of_scores(
        cls,
        gallery: Gallery,
        scores: NDArray[np.float32],
        ranks: ReverseRanks,
        rows: NDArray[np.int64] | None = None,
    ) -> QueryBank:
        """Return the bank of some rows of scores, or of all, whose reverse ranks are known."""
        some = np.arange(len(scores)) if rows is None else rows
        moments = column_moments(scores[some[i : i + 64]] for i in range(0, len(some), 64))
        statistics = ColumnStatistics.of_moments(moments, n_prior=N_PRIOR)
        return cls(
            names=gallery.names,
            gallery_ids=gallery.ids,
            statistics=statistics,
            reverse_ranks=ranks,
            topics=Topics.of(scores, statistics, rows),
        )

    def covers(self, gallery: Gallery) -> bool:
        """Say whether every candidate of a gallery has been scored for this bank."""
        if gallery.ids == self.gallery_ids:
            return True
        return bool((gallery.ids.where_in(self.gallery_ids) >= 0).all())

    def aligned(self, gallery: Gallery) -> QueryBank:
        """Return the bank in the order of a gallery's providers and candidates.

        Raises
        ------
        AlignmentError
            If the bank lacks a provider or a candidate.
        """
        if gallery.names == self.names and gallery.ids == self.gallery_ids:
            return self
        lacking = [name for name in gallery.names if name not in self.names]
        if lacking:
            raise AlignmentError(
                f"bank: expected providers {', '.join(gallery.names)}, got "
                f"{', '.join(self.names)}. Score {', '.join(lacking)} for the bank's queries too."
            )
        columns = gallery.ids.where_in(self.gallery_ids)
        unknown = np.flatnonzero(columns < 0)
        if len(unknown):
            raise AlignmentError(
                f"bank: no scores of gallery image {gallery.ids[unknown[0]]!r} ({len(unknown)} "
                "are missing). Score the bank's queries against this gallery."
            )
        rows = np.array([self.names.index(name) for name in gallery.names])
        cells = np.ix_(rows, columns)
        return QueryBank(
            names=gallery.names,
            gallery_ids=gallery.ids,
            statistics=ColumnStatistics(self.statistics.mean[cells], self.statistics.std[cells]),
            reverse_ranks=self.reverse_ranks.take(rows, columns),
            topics=self.topics.take(rows, columns),
        )

    def to_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return what a fitted fuser stores of its bank: arrays and JSON values."""
        arrays: dict[str, NDArray[Any]] = {
            "bank.mean": self.statistics.mean,
            "bank.std": self.statistics.std,
            "bank.ranks": self.reverse_ranks.ranks,
            "bank.thresholds": self.reverse_ranks.thresholds,
            "bank.topics": self.topics.directions,
        }
        return arrays, {"names": list(self.names), "gallery": list(self.gallery_ids)}

    @classmethod
    def from_state(cls, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> QueryBank:
        """Return the bank that :meth:`to_state` described."""
        return cls(
            names=tuple(values["names"]),
            gallery_ids=Ids(values["gallery"]),
            statistics=ColumnStatistics(arrays["bank.mean"], arrays["bank.std"]),
            reverse_ranks=ReverseRanks(arrays["bank.ranks"], arrays["bank.thresholds"]),
            topics=Topics(arrays["bank.topics"]),
        )


class BankQueries:
    """The queries that a fit makes its banks of, read once for all of them.

    A query of the bank pushes up the very columns it asks for, which a new query never finds: a
    fusion that trains on a bank of its own queries meets another distribution when it is used. So
    training queries are seen with a bank less their fold. No group is in two folds; with a single
    group the bank holds the queries themselves. A bank of other groups, or of another protocol, is
    the same for all.

    Parameters
    ----------
    stack : SimilarityStack
        Training queries.
    bank : SimilarityStack, optional
        What the bank is made of; the training queries by default.
    n_folds, seed : int
    """

    def __init__(
        self,
        stack: SimilarityStack,
        bank: SimilarityStack | None = None,
        *,
        n_folds: int,
        seed: int,
    ) -> None:
        self._gallery = stack.gallery
        self._source = source = stack if bank is None else bank
        groups, of_source = stack.dataset.groups, source.dataset.groups
        self._is_foreign = source.protocol != stack.protocol or not bool(
            np.isin(groups, of_source).any()
        )
        deal = deal_groups(np.concatenate([groups, of_source]), n_folds, seed=seed)
        self._fold, self._fold_of_source = deal[: len(groups)], deal[len(groups) :]

    def whole(self) -> QueryBank:
        """Return the bank of all queries."""
        return self._without(None)

    def crossfitted(self) -> Iterator[tuple[NDArray[np.int64], QueryBank]]:
        """Yield (rows, bank): folds of the training queries, each with the bank less its groups."""
        if self._is_foreign:
            yield np.arange(len(self._fold)), self.whole()
            return
        for f in np.unique(self._fold).tolist():
            yield np.flatnonzero(self._fold == f), self._without(f)

    def _without(self, fold: int | None) -> QueryBank:
        """Return the bank of the queries of all folds but one; of all, where there is no other."""
        gallery = self._source.gallery
        if _fits(self._source):
            others = np.flatnonzero(_apart(self._fold_of_source, fold))
            rest = others if len(others) < len(self._scores) else None
            made = QueryBank._of_scores(gallery, self._scores, self._ranks[fold], rest)
        else:
            apart = _apart(self._fold_of_sketch, fold)
            batches = [sketch for _, sketch in compress(self._sketches, apart)]
            made = QueryBank._of_sketches(gallery, batches, self._ranks[fold])
        return made.aligned(self._gallery)

    @cached_property
    def _scores(self) -> NDArray[np.float32]:
        return _standardised(self._source)

    @cached_property
    def _sketches(self) -> list[tuple[int, ColumnSketch]]:
        """Sketches of all queries, each of one fold's, with that fold."""
        return [
            (f, sketch)
            for f in np.unique(self._fold_of_source).tolist()
            for sketch in _sketches(self._source, np.flatnonzero(self._fold_of_source == f))
        ]

    @cached_property
    def _fold_of_sketch(self) -> NDArray[np.int64]:
        return np.array([f for f, _ in self._sketches])

    @cached_property
    def _ranks(self) -> dict[int | None, ReverseRanks]:
        """Reverse ranks of all queries, and of those of all folds but one, found at once."""
        folds: list[int] = [] if self._is_foreign else np.unique(self._fold).tolist()
        if _fits(self._source):
            left = [f for f in folds if (self._fold_of_source != f).any()]
            whole, *others = ReverseRanks.without_each(self._scores, self._fold_of_source, left)
            return (
                {None: whole} | dict.fromkeys(folds, whole) | dict(zip(left, others, strict=True))
            )
        asked = [None, *folds]
        sets = np.stack([_apart(self._fold_of_sketch, fold) for fold in asked])
        sketches = [sketch for _, sketch in self._sketches]
        return dict(zip(asked, merged_ranks(sketches, sets, sketch_loops()), strict=True))


def _apart(folds: NDArray[np.int64], fold: int | None) -> NDArray[np.bool_]:
    """Return which are of other folds; all, where there is no other."""
    other: NDArray[np.bool_] = folds != (-1 if fold is None else fold)
    return other if other.any() else ~other


def training_bank(
    stack: SimilarityStack,
    families: tuple[str, ...],
    bank: SimilarityStack | None,
    queries: BankQueries | None = None,
) -> QueryBank | None:
    """Return the bank that a fuser keeps, where its channels need one.

    Parameters
    ----------
    stack : SimilarityStack
        Training queries; the bank is made of them where ``bank`` is None.
    bank : SimilarityStack, optional
        Any queries, without labels; training queries may be among them.
    queries : BankQueries, optional
        Those queries, where they are read for other banks too.

    Raises
    ------
    AlignmentError
        If they were not scored by every provider against the whole gallery.
    """
    if BANK_FAMILIES.isdisjoint(families):
        return None
    if bank is None and stack.whole is not None:
        whole = training_bank(stack.whole, families, None)
        return whole and whole.aligned(stack.gallery)
    source = stack if bank is None else bank

    def made() -> QueryBank:
        return queries.whole() if queries else QueryBank.of(source).aligned(stack.gallery)

    return stack.remember("bank" if bank is None else ("bank", bank), made)


def without_groups(bank: SimilarityStack, held_out: SimilarityStack) -> SimilarityStack:
    """Return a bank without the held-out queries and their groups, where protocols are the same.

    Raises
    ------
    OptionError
        If no query is left.
    """
    if bank.protocol != held_out.protocol:
        return bank
    kept = ~np.isin(bank.dataset.groups, held_out.dataset.groups)
    kept &= ~np.isin(np.array(bank.query_ids), np.array(held_out.query_ids))
    if kept.all():
        return bank
    if not kept.any():
        raise OptionError(
            "bank: every query is of a group that is held out. Give queries of other groups."
        )
    return bank.take_queries([bank.query_ids[row] for row in np.flatnonzero(kept)])


def _n_held(stack: SimilarityStack) -> int:
    """Return how many queries' scores ``MAX_BYTES`` holds."""
    return max(1, MAX_BYTES // (4 * stack.n_providers * stack.n_gallery))


def _fits(stack: SimilarityStack) -> bool:
    """Say whether all queries' scores are held at once."""
    return 4 * stack.n_cells <= WHOLE_BYTES and stack.n_queries <= _n_held(stack)


def _sketches(stack: SimilarityStack, rows: NDArray[np.int64]) -> Iterator[ColumnSketch]:
    """Yield sketches of some queries, of as many at a time as ``MAX_BYTES`` allows."""
    n_held, loops = _n_held(stack), sketch_loops()
    n_mixtures = min(n_held, MAX_MIXTURES) / stack.n_queries  # for each query
    batches = np.array_split(rows, -(-len(rows) // n_held))
    n_most = len(batches[0])
    # Room is written over: memory new to a process costs time.
    if loops is None:
        room = _room(n_most, stack)
    else:
        room = empty((cells_of(n_most, stack.n_gallery),), np.float32, in_memory=MAX_BYTES // 4)
    for batch in batches:
        some = stack.take_queries([stack.query_ids[row] for row in batch])
        n_sums = math.ceil(n_mixtures * len(batch))
        if loops is None:
            yield ColumnSketch.of_scores(_standardised(some, room[: len(batch)]), n_sums)
        else:
            shape = len(batch), stack.n_providers, stack.n_gallery
            yield ColumnSketch.of_rows(shape, partial(rows_of, some), n_sums, loops, room)


def _room(n_queries: int, stack: SimilarityStack) -> NDArray[np.float32]:
    return empty((n_queries, stack.n_providers, stack.n_gallery), np.float32)


def _standardised(
    stack: SimilarityStack, room: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return row-standardised scores of every query, (Q, K, N)."""
    scores = _room(stack.n_queries, stack) if room is None else room
    for rows, tile in stack.tiles(n_bytes=CACHED_BYTES):
        zscore_rows(tile, scores[rows])
    return scores
