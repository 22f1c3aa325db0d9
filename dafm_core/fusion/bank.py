"""A query bank: how each candidate is scored whatever is asked, learned from training queries.

Which channels are made of it stands in ``inputs.py``; whose queries may fill it, in ``light.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError
from dafm_core.normalize import ColumnStatistics, column_moments, zscore_rows

if TYPE_CHECKING:
    from dafm_core.stacking import SimilarityStack

N_PRIOR: Final = 10.0
"""Queries that the prior (columns as they are) counts for; nothing beside a bank of a thousand."""


@dataclass(frozen=True, eq=False)
class QueryBank:
    """Column statistics of row-standardised scores, by provider and gallery id.

    Parameters
    ----------
    names : tuple of str
    gallery_ids : tuple of str
    statistics : ColumnStatistics of shape (n_names, n_gallery)
    """

    names: tuple[str, ...]
    gallery_ids: tuple[str, ...]
    statistics: ColumnStatistics

    @classmethod
    def of(cls, stack: SimilarityStack) -> QueryBank:
        """Return the bank of all queries of a stack."""
        return cls._of_moments(stack, moments(stack))

    @classmethod
    def _of_moments(cls, stack: SimilarityStack, of: NDArray[np.float64]) -> QueryBank:
        statistics = ColumnStatistics.of_moments(of, n_prior=N_PRIOR)
        return cls(stack.names, stack.gallery_ids, statistics)

    @classmethod
    def from_state(
        cls, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]
    ) -> QueryBank | None:
        """Return the bank that :func:`bank_state` described, or None."""
        if "bank" not in values:
            return None
        statistics = ColumnStatistics(arrays["bank.mean"], arrays["bank.std"])
        return cls(tuple(values["bank"]["names"]), tuple(values["bank"]["gallery"]), statistics)

    def covers(self, stack: SimilarityStack) -> bool:
        """Say whether every candidate of the stack has been scored for this bank."""
        return set(stack.gallery_ids) <= set(self.gallery_ids)

    def aligned(self, stack: SimilarityStack) -> ColumnStatistics:
        """Return the statistics in the order of the stack's providers and candidates.

        Raises
        ------
        AlignmentError
            If the bank lacks a provider or a candidate.
        """
        lacking = [name for name in stack.names if name not in self.names]
        if lacking:
            raise AlignmentError(
                f"bank: expected providers {', '.join(stack.names)}, got {', '.join(self.names)}. "
                f"Score {', '.join(lacking)} for the bank's queries too."
            )
        column = {image_id: j for j, image_id in enumerate(self.gallery_ids)}
        unknown = [image_id for image_id in stack.gallery_ids if image_id not in column]
        if unknown:
            raise AlignmentError(
                f"bank: no scores of gallery image {unknown[0]!r} ({len(unknown)} are missing). "
                "Score the bank's queries against this gallery."
            )
        rows = [self.names.index(name) for name in stack.names]
        cells = np.ix_(rows, [column[image_id] for image_id in stack.gallery_ids])
        return ColumnStatistics(self.statistics.mean[cells], self.statistics.std[cells])


def bank_state(bank: QueryBank | None) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return what a fitted fuser stores of its bank: arrays and JSON values."""
    if bank is None:
        return {}, {}
    arrays: dict[str, NDArray[Any]] = {
        "bank.mean": bank.statistics.mean,
        "bank.std": bank.statistics.std,
    }
    return arrays, {"bank": {"names": list(bank.names), "gallery": list(bank.gallery_ids)}}


def moments(stack: SimilarityStack) -> NDArray[np.float64]:
    """Return moments of the row-standardised columns, (3, K, N)."""
    return column_moments(zscore_rows(tile) for _, tile in stack.tiles())


def crossfitted_banks(
    stack: SimilarityStack, groups: NDArray[Any], *, n_folds: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], QueryBank]]:
    """Yield (rows, bank): folds of the stack's queries, each with the bank of all the others.

    A query of the bank pushes up the very columns it asks for, which a new query never finds: a
    fusion that trains on a bank of its own queries meets another distribution when it is used.

    Parameters
    ----------
    groups : ndarray of shape (n_queries,)
        No group is in two folds; with a single group the bank holds the queries themselves.
    """
    fold = draw_folds(groups, n_folds, seed=seed)
    folds = [np.flatnonzero(fold == f) for f in np.unique(fold)]
    parts = [moments(_take(stack, rows)) for rows in folds]
    total = np.sum(parts, axis=0)
    for rows, part in zip(folds, parts, strict=True):
        others = total - part if len(folds) > 1 else total
        yield rows, QueryBank._of_moments(stack, others)


def draw_folds(groups: Sequence[str] | NDArray[Any], n_folds: int, *, seed: int) -> NDArray[Any]:
    """Return a fold for each query; whole groups, dealt in random order, one to each in turn."""
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    deal = np.empty(len(names), np.int64)
    deal[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % n_folds
    return deal[codes]


def _take(stack: SimilarityStack, rows: NDArray[np.int64]) -> SimilarityStack:
    return stack.take_queries([stack.query_ids[row] for row in rows])
