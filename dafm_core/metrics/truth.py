"""What is right for each query, as columns of a matrix; and metrics of score rows against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import DatasetError
from dafm_core.ground.ragged import Ragged
from dafm_core.metrics.ranking import TargetRanks, rank_targets
from dafm_core.metrics.spec import Metric


@dataclass(frozen=True, eq=False)
class Places:
    """Where the targets of some queries stand: in the gallery, and in each query's subset.

    Parameters
    ----------
    gallery : TargetRanks
    subset : TargetRanks or None
        None where a query has no subset.
    """

    gallery: TargetRanks
    subset: TargetRanks | None

    @classmethod
    def concatenate(cls, parts: Sequence[Places]) -> Places:
        """Return the places of several tiles, in their order."""
        subsets = [part.subset for part in parts if part.subset is not None]
        return cls(
            TargetRanks.concatenate([part.gallery for part in parts]),
            TargetRanks.concatenate(subsets) if len(subsets) == len(parts) else None,
        )

    def measure(self, metrics: Sequence[Metric]) -> NDArray[np.float64]:
        """Return every metric of every query, (n_queries, n_metrics), in [0, 1]."""
        return np.stack([metric(self.gallery, self.subset) for metric in metrics], axis=1)


@dataclass(frozen=True, eq=False)
class Truth:
    """Targets, subsets and exclusions of some queries, in the columns of their gallery.

    Parameters
    ----------
    targets, subsets, excluded : Ragged of n_queries rows
    n_targets : ndarray of shape (n_queries,), int64
        Distinct targets named by the dataset, in the gallery or not.
    """

    targets: Ragged
    subsets: Ragged
    excluded: Ragged
    n_targets: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset) -> Truth:
        """Return what a dataset says is right, in the columns of its gallery."""
        targets = dataset.targets
        named = dataset.queries["targets"].list.n_unique().fill_null(0).to_numpy()
        if targets.counts.sum() and (targets.counts > named).any():  # an id stands twice
            targets = Ragged.from_rows([np.unique(row) for row in targets])
        return cls(targets, dataset.subsets, dataset.excluded, named.astype(np.int64))

    def part(self, rows: slice) -> Truth:
        """Return the truth of consecutive queries."""
        return Truth(
            self.targets.part(rows),
            self.subsets.part(rows),
            self.excluded.part(rows),
            self.n_targets[rows],
        )

    def places(self, scores: NDArray[Any], *, with_subset: bool = True) -> Places:
        """Return where the targets stand under some scores.

        Parameters
        ----------
        scores : ndarray of shape (n_queries, n_gallery)
            Excluded cells need not be marked; they are removed here.
        with_subset : bool
            Whether to look at the subsets too, where every query has one.

        Raises
        ------
        SimilarityError
            If a score is NaN or +inf.
        DatasetError
            If a query has no target.
        """
        cells = self.excluded.rows, self.excluded.values
        if not np.isneginf(scores[cells]).all():
            scores = scores.copy()
            scores[cells] = -np.inf
        ranks = rank_targets(scores, self.targets, n_targets=self.n_targets)
        if not (with_subset and self.subsets.counts.all()):
            return Places(ranks, None)
        within = rank_targets(scores, self.targets, within=self.subsets, n_targets=self.n_targets)
        return Places(ranks, within)

    def measure(self, scores: NDArray[Any], metrics: Sequence[Metric]) -> NDArray[np.float64]:
        """Return every metric of every query, (n_queries, n_metrics), in [0, 1]; errors as
        :meth:`places`.
        """
        with_subset = any(metric.needs_subset for metric in metrics)
        return self.places(scores, with_subset=with_subset).measure(metrics)


def require_truth(dataset: Dataset, truth: Truth, metrics: Sequence[Metric]) -> None:
    """Raise DatasetError at the first query that has no target, or no subset where a metric ranks
    one.
    """
    _require(dataset, truth.n_targets > 0, "has no target. Evaluate a split with targets")
    for metric in metrics:
        if metric.needs_subset:
            what = f"has no subset, which {metric.name} ranks. Choose other metrics"
            _require(dataset, truth.subsets.counts > 0, what)


def _require(dataset: Dataset, has_it: NDArray[np.bool_], what: str) -> None:
    if not has_it.all():
        lacking = np.flatnonzero(~has_it)
        query_id = dataset.query_ids[int(lacking[0])]
        raise DatasetError(
            f"{dataset.protocol}: query {query_id!r} {what} ({len(lacking)} of {len(has_it)} "
            "queries are like this), or leave such queries out with a query list."
        )
