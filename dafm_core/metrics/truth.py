"""What is right for each query, as columns of a matrix; and metrics of score rows against it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import DatasetError
from dafm_core.ground.ragged import Ragged
from dafm_core.metrics.families import Needs
from dafm_core.metrics.ranking import Grades, Places, rank_targets
from dafm_core.metrics.spec import Metric, measure


@dataclass(frozen=True, eq=False)
class Truth:
    """Targets, subsets and exclusions of some queries, in the columns of their gallery.

    Parameters
    ----------
    targets, subsets, excluded : Ragged of n_queries rows
    first : Ragged of n_queries rows
        The target that a query names first, or nothing where that is not in the gallery.
    n_targets : ndarray of shape (n_queries,), int64
        Distinct targets named by the dataset, in the gallery or not.
    grades : Grades or None
        What each target counts; None where all targets count the same.
    negatives : Ragged of n_queries rows, or None
        Images that the dataset names as wrong; None where it names none.
    n_negatives : ndarray of shape (n_queries,), int64, or None
        How many of them it names, in the gallery or not.
    """

    targets: Ragged
    subsets: Ragged
    excluded: Ragged
    first: Ragged
    n_targets: NDArray[np.int64]
    grades: Grades | None = None
    negatives: Ragged | None = None
    n_negatives: NDArray[np.int64] | None = None

    def __repr__(self) -> str:
        return f"<Truth of {len(self.n_targets)} queries, {int(self.n_targets.sum())} targets>"

    @classmethod
    def of(cls, dataset: Dataset) -> Truth:
        """Return what a dataset says is right, in the columns of its gallery."""
        targets = dataset.targets
        named = dataset.queries["targets"].list.n_unique().fill_null(0).to_numpy()
        if targets.counts.sum() and (targets.counts > named).any():  # an id stands twice
            targets = Ragged.from_rows([np.unique(row) for row in targets])
        first = [ids[:1] for ids in dataset.queries["targets"].fill_null([]).to_list()]
        return cls(
            targets=targets,
            subsets=dataset.subsets,
            excluded=dataset.excluded,
            first=Ragged.from_ids(first, dataset.gallery_ids.place),
            n_targets=named.astype(np.int64),
            grades=_grades(dataset, targets),
            **_negatives(dataset),
        )

    def part(self, rows: slice) -> Truth:
        """Return the truth of consecutive queries."""
        return Truth(
            self.targets.part(rows),
            self.subsets.part(rows),
            self.excluded.part(rows),
            self.first.part(rows),
            self.n_targets[rows],
            self._grades_of(rows),
            None if self.negatives is None else self.negatives.part(rows),
            None if self.n_negatives is None else self.n_negatives[rows],
        )

    def _grades_of(self, rows: slice) -> Grades | None:
        if self.grades is None:
            return None
        offsets = self.targets.offsets[rows.start : rows.stop + 1]
        return Grades(self.grades.ranked[offsets[0] : offsets[-1]], self.grades.every[rows])

    def places(
        self,
        scores: NDArray[Any],
        *,
        subset_scores: NDArray[Any] | None = None,
        only: Collection[Needs] | None = None,
        unknown: NDArray[np.bool_] | None = None,
        anywhere: bool = False,
    ) -> Places:
        """Return where the targets stand under some scores.

        Parameters
        ----------
        scores : ndarray of shape (n_queries, n_gallery)
            Excluded cells need not be marked; they are removed here.
        subset_scores : ndarray of shape (n_queries, n_gallery), optional
            What ranks each query's subset; by default the same scores.
        only : collection of {"subset", "first", "negatives"}, optional
            What to look at besides the gallery; by default everything that there is.
        unknown, anywhere
            Candidates without a score, as for :func:`~dafm_core.metrics.ranking.rank_targets`.

        Raises
        ------
        SimilarityError
            If a score is NaN or +inf.
        DatasetError
            If a query has no target.
        """
        cells = self.excluded.rows, self.excluded.values
        scores = _without(scores, cells)
        if unknown is not None and unknown[cells].any():
            unknown = unknown.copy()
            unknown[cells] = False
        wanted = {"subset", "first", "negatives"} if only is None else set(only)
        rank = partial(rank_targets, unknown=unknown, anywhere=anywhere)
        gallery = rank(scores, self.targets, n_targets=self.n_targets, grades=self.grades)
        first = gallery
        if "first" in wanted and (self.n_targets > 1).any():
            first = rank(scores, self.first, n_targets=np.minimum(self.n_targets, 1))
        subset = None
        if "subset" in wanted and self.subsets.counts.all():
            within = scores if subset_scores is None else _without(subset_scores, cells)
            subset = rank(within, self.targets, within=self.subsets, n_targets=self.n_targets)
        if self.negatives is None or self.n_negatives is None or "negatives" not in wanted:
            return Places(gallery, subset, first)
        negatives = rank(scores, self.negatives, n_targets=np.maximum(self.n_negatives, 1))
        removed = self.negatives.rows, self.negatives.values
        scores = scores.copy()
        scores[removed] = -np.inf
        if unknown is not None:
            unknown = unknown.copy()
            unknown[removed] = False
        unopposed = rank_targets(
            scores, self.targets, n_targets=self.n_targets, unknown=unknown, anywhere=anywhere
        )
        return Places(gallery, subset, first, negatives, unopposed)

    def measure(
        self,
        scores: NDArray[Any],
        metrics: Sequence[Metric],
        *,
        subset_scores: NDArray[Any] | None = None,
        unknown: NDArray[np.bool_] | None = None,
        anywhere: bool = False,
    ) -> NDArray[np.float64]:
        """Return every metric of every query, (n_queries, n_metrics), in [0, 1], NaN where it is
        undecided; parameters and errors as :meth:`places`.
        """
        only = {need for metric in metrics for need in metric.needs}
        places = self.places(
            scores, subset_scores=subset_scores, only=only, unknown=unknown, anywhere=anywhere
        )
        return measure(places, metrics)


def _without(
    scores: NDArray[Any], cells: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> NDArray[Any]:
    """Return scores in which excluded cells are -inf; the same array where they are already."""
    if np.isneginf(scores[cells]).all():
        return scores
    marked = scores.copy()
    marked[cells] = -np.inf
    return marked


def _negatives(dataset: Dataset) -> dict[str, Any]:
    """Return the images named as wrong, each once, and how many a query names."""
    named = dataset.queries["negatives"].list.n_unique().fill_null(0).to_numpy().astype(np.int64)
    if not named.any():
        return {}
    columns = Ragged.from_rows([np.unique(row) for row in dataset.columns("negatives")])
    return {"negatives": columns, "n_negatives": named}


def _grades(dataset: Dataset, targets: Ragged) -> Grades | None:
    """Return what every target counts; one that stands twice, the most it is given."""
    columns = dataset.queries.select("targets", "grades")
    if columns["grades"].null_count() == len(columns):
        return None
    place, ranked, every = dataset.gallery_ids.place, [], []
    for (ids, given), in_gallery in zip(columns.iter_rows(), targets, strict=True):
        counts: dict[str, float] = {}
        for image_id, grade in zip(ids, given or [1.0] * len(ids), strict=True):
            counts[image_id] = max(grade, counts.get(image_id, 0.0))
        by_column = {place[i]: grade for i, grade in counts.items() if i in place}
        ranked += [by_column[column] for column in in_gallery.tolist()]
        every.append(list(counts.values()))
    width = max(map(len, every), default=0)
    filled = [grades + [0.0] * (width - len(grades)) for grades in every]
    return Grades(np.array(ranked, np.float64), np.array(filled, np.float64).reshape(-1, width))


def require_truth(dataset: Dataset, truth: Truth, metrics: Sequence[Metric]) -> None:
    """Raise DatasetError at the first query that has no target, or no subset where a metric ranks
    one.
    """
    _require(dataset, truth.n_targets > 0, "has no target. Evaluate a split with targets")
    for metric in metrics:
        if "subset" in metric.needs:
            what = f"has no subset, which {metric.name} ranks. Choose other metrics"
            _require(dataset, truth.subsets.counts > 0, what)
        if "negatives" in metric.needs and truth.negatives is None:
            raise DatasetError(
                f"{dataset.protocol}: names no negatives, which {metric.name} ranks. Choose other "
                "metrics."
            )


def _require(dataset: Dataset, has_it: NDArray[np.bool_], what: str) -> None:
    if not has_it.all():
        lacking = np.flatnonzero(~has_it)
        query_id = dataset.query_ids[int(lacking[0])]
        raise DatasetError(
            f"{dataset.protocol}: query {query_id!r} {what} ({len(lacking)} of {len(has_it)} "
            "queries are like this), or leave such queries out with a query list."
        )
