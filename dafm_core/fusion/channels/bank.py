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
from dafm_core.ground.normalize import ColumnStatistics, column_moments, zscore_rows

if TYPE_CHECKING:
    from dafm_core.store.stack import SimilarityStack

MAX_BYTES: Final = 1 << 30
"""Memory of the scores from which thresholds are read; beyond it every n-th query is used."""
SMALLEST_GAP: Final = 1e-3
"""Difference of standardised scores below which two queries of the bank count as level."""
LOWEST: Final = np.float32(-100)
"""Below any standardised score that occurs."""
N_PRIOR: Final = 10.0
"""Queries that the prior (columns as they are) counts for; nothing beside a bank of a thousand."""
N_TOPICS: Final = 32
"""Directions kept of those in which the bank's rows differ."""
N_ITERATIONS: Final = 4
"""Of the subspace iteration that finds them; the leading ones change no more."""


@dataclass(frozen=True, eq=False)
class QueryBank:
    """What a bank's row-standardised scores say of each candidate.

    Parameters
    ----------
    names : tuple of str
    gallery_ids : tuple of str
    statistics : ColumnStatistics of shape (n_names, n_gallery)
    ranks : ndarray of shape (T,), int64
        Ascending, about geometric.
    thresholds : ndarray of shape (T, n_names, n_gallery), float32
        Each column's ``ranks``-highest scores.
    topics : ndarray of shape (n_names, H, n_gallery), float32
        Orthonormal directions in which the bank's column-standardised rows differ most.
    """

    names: tuple[str, ...]
    gallery_ids: tuple[str, ...]
    statistics: ColumnStatistics
    ranks: NDArray[np.int64]
    thresholds: NDArray[np.float32]
    topics: NDArray[np.float32]

    @classmethod
    def of(cls, stack: SimilarityStack) -> QueryBank:
        """Return the bank of all queries of a stack."""
        return cls._of_scores(stack, _standardised(stack))

    @classmethod
    def _of_scores(cls, stack: SimilarityStack, scores: NDArray[np.float32]) -> QueryBank:
        moments = column_moments(scores[i : i + 64] for i in range(0, len(scores), 64))
        known = np.maximum(scores, LOWEST)  # an excluded query ranks below all
        columns = np.sort(known.transpose(1, 2, 0), axis=2)  # (B, K, N) -> (K, N, B)
        ranks = _geometric(len(scores))
        statistics = ColumnStatistics.of_moments(moments, n_prior=N_PRIOR)
        return cls(
            names=stack.names,
            gallery_ids=stack.gallery_ids,
            statistics=statistics,
            ranks=ranks,
            thresholds=np.ascontiguousarray(columns[:, :, -ranks].transpose(2, 0, 1)),
            topics=_topics(scores, statistics),
        )

    def covers(self, stack: SimilarityStack) -> bool:
        """Say whether every candidate of the stack has been scored for this bank."""
        return set(stack.gallery_ids) <= set(self.gallery_ids)

    def aligned(self, stack: SimilarityStack) -> QueryBank:
        """Return the bank in the order of the stack's providers and candidates.

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
        return QueryBank(
            names=stack.names,
            gallery_ids=stack.gallery_ids,
            statistics=ColumnStatistics(self.statistics.mean[cells], self.statistics.std[cells]),
            ranks=self.ranks,
            thresholds=np.ascontiguousarray(self.thresholds[:, cells[0], cells[1]]),
            topics=np.ascontiguousarray(self.topics[rows][:, :, cells[1][0]]),
        )

    def log_ranks(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``log(B / (1 + n)) - 1`` for row-standardised scores (B, K, N).

        n of the B queries of this (aligned) bank score the candidate higher; between the ranks
        that are kept, its logarithm follows the score linearly, so that no rounding shows.
        """
        levels = np.log(self.ranks).astype(np.float32)  # at the r-th highest score, r - 1 higher
        steps = np.diff(levels)
        thresholds = self.thresholds.reshape(len(levels), -1)  # (T, K N)
        slopes = 1 / np.maximum(thresholds[:-1] - thresholds[1:], SMALLEST_GAP)
        out = np.empty_like(rows)
        for row, ranked in zip(rows, out, strict=True):
            below = (thresholds[:-1] - np.maximum(row, LOWEST).ravel()) * slopes
            np.clip(below, 0, 1, out=below)  # how far from one kept rank to the next
            ranked[:] = levels[-1] - 1 - (steps @ below).reshape(row.shape)
        return out

    def topical(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return column-standardised rows (B, K, N) without what is theirs alone.

        Each row is projected on the topics of this (aligned) bank: what remains is what queries
        like it have in common.
        """
        known = np.where(np.isfinite(columns), columns, np.float32(0)).transpose(1, 0, 2)
        shared: NDArray[np.float32] = (known @ self.topics.transpose(0, 2, 1)) @ self.topics
        return np.where(np.isfinite(columns), shared.transpose(1, 0, 2), np.float32(-np.inf))


def bank_state(bank: QueryBank) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return what a fitted fuser stores of its bank: arrays and JSON values."""
    arrays: dict[str, NDArray[Any]] = {
        "bank.mean": bank.statistics.mean,
        "bank.std": bank.statistics.std,
        "bank.ranks": bank.ranks,
        "bank.thresholds": bank.thresholds,
        "bank.topics": bank.topics,
    }
    return arrays, {"bank": {"names": list(bank.names), "gallery": list(bank.gallery_ids)}}


def bank_from_state(arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> QueryBank:
    """Return the bank that :func:`bank_state` described."""
    return QueryBank(
        names=tuple(values["bank"]["names"]),
        gallery_ids=tuple(values["bank"]["gallery"]),
        statistics=ColumnStatistics(arrays["bank.mean"], arrays["bank.std"]),
        ranks=arrays["bank.ranks"],
        thresholds=arrays["bank.thresholds"],
        topics=arrays["bank.topics"],
    )


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
    used, scores = np.arange(stack.n_queries)[:: _stride(stack)], _standardised(stack)
    for f in np.unique(fold):
        others = fold[used] != f
        rest = scores[others] if others.any() else scores
        yield np.flatnonzero(fold == f), QueryBank._of_scores(stack, rest)


def draw_folds(groups: Sequence[str] | NDArray[Any], n_folds: int, *, seed: int) -> NDArray[Any]:
    """Return a fold for each query; whole groups, dealt in random order, one to each in turn."""
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    deal = np.empty(len(names), np.int64)
    deal[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % n_folds
    return deal[codes]


def _stride(stack: SimilarityStack) -> int:
    return max(1, -(-stack.n_queries * stack.n_providers * stack.n_gallery * 4 // MAX_BYTES))


def _standardised(stack: SimilarityStack) -> NDArray[np.float32]:
    """Return row-standardised scores of every query, or of as many as ``MAX_BYTES`` allows."""
    part = stack.take_queries(stack.query_ids[:: _stride(stack)])
    return np.concatenate([zscore_rows(tile) for _, tile in part.tiles()])


def _topics(scores: NDArray[np.float32], statistics: ColumnStatistics) -> NDArray[np.float32]:
    """Return the leading directions of each provider's column-standardised rows, (K, H, N).

    By subspace iteration (Halko et al., SIAM Review 2011) from a random mixture of queries, so
    that the order of the gallery plays no part.
    """
    n_queries, n_providers, n_gallery = scores.shape
    width = min(N_TOPICS, n_queries, n_gallery)
    mixture = np.random.default_rng(0).normal(size=(n_queries, width)).astype(np.float32)
    topics = np.empty((n_providers, width, n_gallery), np.float32)
    for k in range(n_providers):
        rows = (scores[:, k] - statistics.mean[k]) / statistics.std[k]
        rows[~np.isfinite(rows)] = 0
        directions = rows.T @ mixture  # (N, H)
        for _ in range(N_ITERATIONS):
            directions = rows.T @ (rows @ np.linalg.qr(directions)[0])
        topics[k] = np.linalg.qr(directions)[0].T
    return topics


def _geometric(n: int) -> NDArray[np.int64]:
    """Return ranks 1, 2, 3, 5, 9, ... up to n, each about 1.7 times the last."""
    return np.unique(np.round(1.7 ** np.arange(40)).clip(1, n).astype(np.int64))
