"""What is right for each query, as columns of a matrix; and metrics of score rows against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import AlignmentError, DatasetError
from dafm_core.ground.ragged import Ragged
from dafm_core.metrics.ranking import rank_targets
from dafm_core.metrics.spec import Metric


@dataclass(frozen=True, eq=False)
class Truth:
    """Targets, subsets and exclusions of some queries, in the column order of a given gallery.

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
    def of(cls, dataset: Dataset, gallery_ids: Sequence[str], metrics: Sequence[Metric]) -> Truth:
        """Return a dataset's truth in the columns of ``gallery_ids``, aligned by id.

        Raises
        ------
        AlignmentError
            If the galleries differ.
        DatasetError
            If a query has no target, or no subset where a metric needs one; names the query.
        """
        columns = _column_of_each_candidate(dataset, gallery_ids)
        targets, subsets = dataset.targets.relabel(columns), dataset.subsets.relabel(columns)
        named = dataset.queries["targets"].list.n_unique().fill_null(0).to_numpy()
        if targets.counts.sum() and (targets.counts > named).any():  # an id stands twice
            targets = Ragged.from_rows([np.unique(row) for row in targets])
        _require(dataset, named > 0, "has no target. Evaluate a split with targets")
        for metric in metrics:
            if metric.needs_subset:
                what = f"has no subset, which {metric.name} ranks. Choose other metrics"
                _require(dataset, subsets.counts > 0, what)
        return cls(targets, subsets, dataset.excluded.relabel(columns), named.astype(np.int64))

    def part(self, rows: slice) -> Truth:
        """Return the truth of consecutive queries."""
        return Truth(
            _part(self.targets, rows),
            _part(self.subsets, rows),
            _part(self.excluded, rows),
            self.n_targets[rows],
        )

    def measure(self, scores: NDArray[Any], metrics: Sequence[Metric]) -> NDArray[np.float64]:
        """Return every metric of every query, in [0, 1].

        Parameters
        ----------
        scores : ndarray of shape (n_queries, n_gallery)
            Excluded cells need not be marked; they are removed here.

        Returns
        -------
        ndarray of shape (n_queries, n_metrics), float64

        Raises
        ------
        SimilarityError
            If a score is NaN or +inf.
        """
        cells = self.excluded.rows, self.excluded.values
        if not np.isneginf(scores[cells]).all():
            scores = scores.copy()
            scores[cells] = -np.inf
        ranks = rank_targets(scores, self.targets, n_targets=self.n_targets)
        subset_ranks = None
        if any(metric.needs_subset for metric in metrics):
            subset_ranks = rank_targets(
                scores, self.targets, within=self.subsets, n_targets=self.n_targets
            )
        return np.stack([metric(ranks, subset_ranks) for metric in metrics], axis=1)


def _column_of_each_candidate(dataset: Dataset, gallery_ids: Sequence[str]) -> NDArray[np.int64]:
    """Return where each of the dataset's candidates stands in ``gallery_ids``."""
    index = {image_id: column for column, image_id in enumerate(gallery_ids)}
    missing = [image_id for image_id in dataset.gallery_ids if image_id not in index]
    if missing or len(index) != dataset.n_gallery:
        example = f", e.g. {missing[0]!r} is missing" if missing else ""
        raise AlignmentError(
            f"{dataset.protocol}: expected scores for its {dataset.n_gallery} candidates, got "
            f"{len(index)}{example}. Score this dataset, or evaluate on the one that was scored."
        )
    return np.array([index[image_id] for image_id in dataset.gallery_ids], np.int64)


def _require(dataset: Dataset, given: NDArray[np.bool_], what: str) -> None:
    if not given.all():
        lacking = np.flatnonzero(~given)
        query_id = dataset.query_ids[int(lacking[0])]
        raise DatasetError(
            f"{dataset.protocol}: query {query_id!r} {what} ({len(lacking)} of {len(given)} "
            "queries are like this), or leave such queries out with a query list."
        )


def _part(ragged: Ragged, rows: slice) -> Ragged:
    offsets = ragged.offsets[rows.start : rows.stop + 1]
    return Ragged(offsets - offsets[0], ragged.values[offsets[0] : offsets[-1]])
