"""Where the targets stand in each ranking, by counting: nothing is ever sorted.

A score says only who is above and who is level, so a target's place is two counts: candidates
strictly greater, and candidates tied with it. Every metric is an expectation over a random order
of tied candidates, and follows from these counts in closed form (``functional.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError, DatasetError, SimilarityError
from dafm_core.ground.half_precision import are_odd, count_above
from dafm_core.ground.ragged import Ragged

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Grades:
    """What each target of some queries counts, where that differs.

    Parameters
    ----------
    ranked : ndarray of shape (n_targets in the gallery,), float64
        Above 0; query after query, as the columns of the targets.
    every : ndarray of shape (n_queries, most targets of a query), float64
        Of all targets, in the gallery or not, filled up with 0.
    """

    ranked: NDArray[np.float64]
    every: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Unknown:
    """Candidates of some queries whose score nobody knows: how many there are, and where they are.

    Parameters
    ----------
    n_known, n_unknown : ndarray of shape (n_queries,), int64
        Ranked candidates with a score, and without one.
    n_targets : ndarray of shape (n_queries,), int64
        Targets among those without a score.
    anywhere : ndarray of shape (n_queries,), bool
        Whether the unknown ones may stand above the known ones; else they are all below them, in
        an order that is not known.
    """

    n_known: Counts
    n_unknown: Counts
    n_targets: Counts
    anywhere: NDArray[np.bool_]

    @classmethod
    def none(cls, n_queries: int) -> Unknown:
        """Return that every score is known."""
        zeros = np.zeros(n_queries, np.int64)
        return cls(zeros, zeros, zeros, np.zeros(n_queries, bool))

    @classmethod
    def concatenate(cls, parts: Sequence[Unknown]) -> Unknown:
        """Return what is unknown in several tiles, in their order."""
        fields = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(arrays) for arrays in fields))


@dataclass(frozen=True, eq=False)
class TargetRanks:
    """The places of all targets of some queries, as counts; one entry per ranked target.

    A target that is not in the gallery, or is excluded, has no entry: it is never retrieved.

    Parameters
    ----------
    rows : ndarray of shape (n_ranked,), int64
        The query of each entry, ascending.
    greater : ndarray of shape (n_ranked,), int64
        Candidates that score strictly above the target.
    tied : ndarray of shape (n_ranked,), int64
        Candidates that score the same, the target included; at least 1.
    targets_greater, targets_tied : ndarray of shape (n_ranked,), int64
        The same counts among the query's own targets.
    n_targets : ndarray of shape (n_queries,), int64
        Every target of the query, ranked or not; at least 1.
    grades : ndarray of shape (n_ranked,), float64, or None
        What each target counts, above 0; None where all count the same.
    all_grades : ndarray of shape (n_queries, most targets of a query), float64
        Of every target of the query, ranked or not, filled up with 0; without columns where
        ``grades`` is None.
    unknown : Unknown or None
        Candidates without a score, which here tie below all others; None where there are none.
    is_known : ndarray of shape (n_ranked,), bool, or None
        Which targets have a score; None where all have.
    """

    rows: Counts
    greater: Counts
    tied: Counts
    targets_greater: Counts
    targets_tied: Counts
    n_targets: Counts
    grades: NDArray[np.float64] | None = None
    all_grades: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    unknown: Unknown | None = None
    is_known: NDArray[np.bool_] | None = None

    @property
    def n_queries(self) -> int:
        """Number of queries, Q."""
        return len(self.n_targets)

    @classmethod
    def concatenate(cls, parts: Sequence[TargetRanks]) -> TargetRanks:
        """Return the ranks of several tiles, in their order."""
        starts = np.cumsum([0, *(part.n_queries for part in parts)])[:-1]
        rows = [part.rows + start for part, start in zip(parts, starts, strict=True)]
        grades = [part.grades for part in parts if part.grades is not None]
        width = max((part.all_grades.shape[1] for part in parts), default=0)
        unknown = is_known = None
        if any(part.unknown is not None for part in parts):
            unknown = Unknown.concatenate(
                [part.unknown or Unknown.none(part.n_queries) for part in parts]
            )
            is_known = np.concatenate(
                [
                    np.ones(len(part.rows), bool) if part.is_known is None else part.is_known
                    for part in parts
                ]
            )
        return cls(
            np.concatenate(rows),
            np.concatenate([part.greater for part in parts]),
            np.concatenate([part.tied for part in parts]),
            np.concatenate([part.targets_greater for part in parts]),
            np.concatenate([part.targets_tied for part in parts]),
            np.concatenate([part.n_targets for part in parts]),
            np.concatenate(grades) if len(grades) == len(parts) else None,
            np.concatenate([_widened(part.all_grades, width) for part in parts]),
            unknown,
            is_known,
        )


def _widened(grades: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return grades (B, T) filled up with 0 to a width."""
    missing = width - grades.shape[1]
    return np.pad(grades, ((0, 0), (0, missing))) if missing else grades


@dataclass(frozen=True, eq=False)
class Places:
    """Where the targets of some queries stand: in the gallery, in each query's subset, and the
    first-named target alone.

    Parameters
    ----------
    gallery : TargetRanks
    subset : TargetRanks or None
        None where a query has no subset, or nobody asked.
    first : TargetRanks
        The same as ``gallery`` where no query has several targets.
    negatives : TargetRanks or None
        Of the images that a benchmark names as wrong; None where it names none, or nobody asked.
    unopposed : TargetRanks or None
        Of the targets, those images left out of the ranking.
    """

    gallery: TargetRanks
    subset: TargetRanks | None
    first: TargetRanks
    negatives: TargetRanks | None = None
    unopposed: TargetRanks | None = None

    @classmethod
    def concatenate(cls, parts: Sequence[Places]) -> Places:
        """Return the places of several tiles, in their order."""

        def joined(ranks: Sequence[TargetRanks | None]) -> TargetRanks | None:
            there = [part for part in ranks if part is not None]
            return TargetRanks.concatenate(there) if len(there) == len(parts) else None

        return cls(
            TargetRanks.concatenate([part.gallery for part in parts]),
            joined([part.subset for part in parts]),
            TargetRanks.concatenate([part.first for part in parts]),
            joined([part.negatives for part in parts]),
            joined([part.unopposed for part in parts]),
        )


def rank_targets(
    scores: NDArray[Any],
    targets: Ragged,
    *,
    within: Ragged | None = None,
    n_targets: NDArray[np.int64] | None = None,
    grades: Grades | None = None,
    unknown: NDArray[np.bool_] | None = None,
    anywhere: bool = False,
) -> TargetRanks:
    """Count, for every target, the candidates above it and level with it.

    Parameters
    ----------
    scores : ndarray of shape (n_queries, n_gallery)
        Higher is better; -inf marks a cell that is removed from the ranking.
    targets : Ragged of n_queries rows
        Columns of each query's targets.
    within : Ragged of n_queries rows, optional
        Rank only these columns against each other (a subset that holds the targets).
    n_targets : ndarray of shape (n_queries,), optional
        Number of targets where some are not in the gallery; by default ``targets.counts``.
    grades : Grades, optional
        Where targets do not all count the same.
    unknown : ndarray of shape (n_queries, n_gallery), bool, optional
        Candidates without a score, whatever stands in their cells: they tie below all others, and
        the result says how many they are.
    anywhere : bool
        Whether in truth they may stand above candidates with a score.

    Raises
    ------
    SimilarityError
        If a score is NaN or +inf.
    DatasetError
        If a query has no target.
    AlignmentError
        If the numbers of rows differ, or a target is not in its subset.

    Examples
    --------
    Three queries: one candidate above the target; two targets of which one is level with another
    candidate; a target that is removed and has no entry.

    >>> scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.5], [-np.inf, 0.5, 0.1]])
    >>> ranks = rank_targets(scores, Ragged.from_rows([[1], [0, 1], [0]]))
    >>> ranks.rows.tolist()
    [0, 1, 1]
    >>> ranks.greater.tolist(), ranks.tied.tolist()
    ([1, 0, 1], [1, 1, 2])
    >>> ranks.targets_greater.tolist(), ranks.targets_tied.tolist()  # among the query's own targets
    ([0, 0, 1], [1, 1, 1])
    >>> ranks.n_targets.tolist()
    [1, 2, 1]
    """
    counts = targets.counts if n_targets is None else n_targets
    if unknown is not None:
        if unknown.any():
            scores = below_all(scores, unknown)
        else:
            unknown = None
    _check(scores, targets, counts)
    columns, filled = _padded(targets)  # (B, T)
    own = np.take_along_axis(scores, columns, axis=1) if columns.size else np.empty(columns.shape)
    ranked = filled & np.isfinite(own)
    pool = scores if within is None else _pool(scores, within)
    greater, tied, targets_greater, targets_tied = np.zeros((4, *own.shape), np.int64)
    # Padding and removed targets become -inf: below every ranked one, so they never count as above
    # or level.
    rivals = np.where(ranked, own, -np.inf)
    # Sorting is N log N and must choose an order among equals; counting is N, exact, and leaves the
    # ties to the metrics. Comparing all targets at once would take T times the tile in memory.
    for t in range(own.shape[1]):  # one pass over the tile per target of a query
        rows = np.flatnonzero(ranked[:, t])
        bar = own[rows, t, None]
        others = pool if len(rows) == len(pool) else pool[rows]
        greater[rows, t], tied[rows, t] = count_above(others, own[rows, t])
        targets_greater[rows, t] = np.count_nonzero(rivals[rows] > bar, axis=1)
        targets_tied[rows, t] = np.count_nonzero(rivals[rows] == bar, axis=1)
    if (tied[ranked] == 0).any():
        raise AlignmentError("ranking: a target is not among the candidates of its subset.")
    return TargetRanks(
        np.nonzero(ranked)[0],  # row by row, as the masks below pick
        greater[ranked],
        tied[ranked],
        targets_greater[ranked],
        targets_tied[ranked],
        counts,
        None if grades is None else grades.ranked[ranked[filled]],
        np.empty((len(counts), 0)) if grades is None else grades.every,
        *_count_unknown(pool, unknown, within, columns, ranked, anywhere=anywhere),
    )


def below_all(scores: NDArray[Any], unknown: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the rows with their unknown cells level, right below the lowest known score."""
    known = ~unknown & np.isfinite(scores)
    lowest = scores.min(axis=1, keepdims=True, where=known, initial=np.inf)
    lowest = np.where(known.any(axis=1, keepdims=True), lowest, 1)
    below = np.nextafter(lowest.astype(scores.dtype), scores.dtype.type(-np.inf))
    return np.where(unknown, below, scores)


def _count_unknown(
    pool: NDArray[Any],
    unknown: NDArray[np.bool_] | None,
    within: Ragged | None,
    columns: Counts,
    ranked: NDArray[np.bool_],
    *,
    anywhere: bool,
) -> tuple[Unknown | None, NDArray[np.bool_] | None]:
    """Return what is unknown among the ranked candidates, and which targets are known."""
    if unknown is None:
        return None, None
    lost = np.take_along_axis(unknown, columns, axis=1) if columns.size else ranked
    if within is not None:
        places, filled = _padded(within)
        unknown = np.take_along_axis(unknown, places, axis=1) & filled
    n_unknown = np.count_nonzero(unknown, axis=1)
    counted = Unknown(
        n_known=np.count_nonzero(np.isfinite(pool), axis=1) - n_unknown,
        n_unknown=n_unknown,
        n_targets=np.count_nonzero(lost & ranked, axis=1),
        anywhere=np.full(len(pool), anywhere),
    )
    return counted, ~lost[ranked]


def _check(
    scores: NDArray[Any],
    targets: Ragged,
    n_targets: NDArray[np.int64],
) -> None:
    if not len(scores) == len(targets) == len(n_targets):
        raise AlignmentError(
            f"ranking: expected targets for {len(scores)} queries, got {len(targets)}."
        )
    odd: Any = slice(None)
    if scores.dtype == np.float16:
        odd = np.flatnonzero(are_odd(scores))
    peaks = np.full(len(scores), 0.0)
    peaks[odd] = scores[odd].max(axis=1, initial=-np.inf)  # NaN wins a maximum
    bad = np.flatnonzero(np.isnan(peaks) | np.isposinf(peaks))
    if len(bad):
        raise SimilarityError(
            f"ranking: expected finite scores (or -inf where excluded), got {peaks[bad[0]]} in row "
            f"{bad[0]}. Look at the provider or fuser that made it."
        )
    if (n_targets < 1).any():
        raise DatasetError(
            f"ranking: query in row {int(np.argmin(n_targets))} has no target. "
            "Only queries with a target can be evaluated."
        )


def _padded(ragged: Ragged) -> tuple[Counts, NDArray[np.bool_]]:
    """Return the rows as a rectangle, and which of its cells are filled; the others hold 0."""
    counts = ragged.counts
    filled = np.arange(counts.max(initial=0)) < counts[:, None]
    columns = np.zeros(filled.shape, np.int64)
    columns[filled] = ragged.values
    return columns, filled


def _pool(scores: NDArray[Any], within: Ragged) -> NDArray[Any]:
    """Return only the scores of each row's subset, (B, S), -inf where a row has fewer."""
    columns, filled = _padded(within)
    return np.where(filled, np.take_along_axis(scores, columns, axis=1), -np.inf)
