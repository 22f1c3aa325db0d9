"""Per-query metrics from counts: expected values over a random order of tied candidates.

Each function returns one float64 per query, in [0, 1]; whoever calls averages. A constant scorer
gets what chance gets, whatever the order of the file.

Where some candidates have no score, a metric of a query is *decided* if every order that the known
scores allow gives the same value; the functions ``undecided_...`` say where it is not.

References
----------
McSherry and Najork, Computing Information Retrieval Performance Measures Efficiently in the
Presence of Tied Scores, ECIR 2008. Baldrati et al., Zero-Shot Composed Image Retrieval with
Textual Inversion (CIRCO), ICCV 2023, for the denominator of mAP@K.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.metrics.ranking import TargetRanks, Unknown

PerQuery = NDArray[np.float64]


def recall(ranks: TargetRanks, *, k: int) -> PerQuery:
    """Return the expected share of a query's targets among its first ``k`` candidates.

    With one target this is the hit rate CIRR and FashionIQ call Recall@K; with several it is
    trec_eval's recall (see :func:`hit` for "at least one").
    """
    within = np.clip((k - ranks.greater) / ranks.tied, 0.0, 1.0)
    return _sum_by_query(ranks, within) / ranks.n_targets


def hit(ranks: TargetRanks, *, k: int) -> PerQuery:
    """Return the probability that at least one target is among the first ``k`` candidates."""
    rows, greater, tied, relevant = _best_level(ranks)
    slots = np.clip(k - greater, 0, tied)
    miss = np.ones(len(rows))
    for drawn in range(int(relevant.max(initial=0))):  # hypergeometric: none of them in the slots
        factor = np.maximum(tied - slots - drawn, 0) / np.maximum(tied - drawn, 1)
        miss *= np.where(drawn < relevant, factor, 1.0)
    result = np.zeros(ranks.n_queries)
    result[rows] = 1.0 - miss
    return result


def reciprocal_rank(ranks: TargetRanks) -> PerQuery:
    """Return the expected reciprocal rank of the first target; 0 where none is ranked."""
    rows, greater, tied, relevant = _best_level(ranks)
    harmonic = _harmonic(greater + tied)
    result = np.zeros(ranks.n_queries)
    result[rows] = (harmonic[greater + tied] - harmonic[greater]) / tied  # one target in the tie
    for i in np.flatnonzero(relevant > 1):
        above, level, r = int(greater[i]), int(tied[i]), int(relevant[i])
        place = np.arange(1, level - r + 2)  # the first of r targets stands at place
        stay = (level - place[:-1] - r + 1) / (level - place[:-1])
        chance = r / level * np.concatenate([[1.0], np.cumprod(stay)])
        result[rows[i]] = (chance / (above + place)).sum()
    return result


def average_precision(ranks: TargetRanks, *, k: int) -> PerQuery:
    """Return the expected average precision of the first ``k``, over min(k, number of targets).

    A target at place i of a tie of t candidates with r targets, below g candidates of which R are
    targets, has expected precision (R + 1 + (i - 1)(r - 1)/(t - 1)) / (g + i).
    """
    greater, tied = ranks.greater, ranks.tied
    slots = np.clip(k - greater, 0, tied)
    slope = (ranks.targets_tied - 1) / np.maximum(tied - 1, 1)
    harmonic = _harmonic(greater + slots)
    span = harmonic[greater + slots] - harmonic[greater]
    offset = ranks.targets_greater + 1 - slope * (greater + 1)
    precision = (slope * slots + offset * span) / tied  # mean over the places of the tie
    return _sum_by_query(ranks, precision) / np.minimum(k, ranks.n_targets)


def undecided_recall(ranks: TargetRanks, *, k: int) -> NDArray[np.bool_]:
    """Return for which queries :func:`recall` depends on candidates without a score."""
    unknown, nothing = ranks.unknown, np.zeros(ranks.n_queries, bool)
    if unknown is None:
        return nothing
    total = unknown.n_known + unknown.n_unknown
    below = (unknown.n_known < k) & (k < total) & _mixed(unknown)
    moved = ~_surely_in(ranks, k=k) & ~_surely_out(ranks, k=k)
    anywhere = (_any(ranks, moved) | (unknown.n_targets > 0)) & (k < total)
    return np.where(unknown.anywhere, anywhere & (unknown.n_unknown > 0), below)


def undecided_hit(ranks: TargetRanks, *, k: int) -> NDArray[np.bool_]:
    """Return for which queries :func:`hit` depends on candidates without a score."""
    unknown, nothing = ranks.unknown, np.zeros(ranks.n_queries, bool)
    if unknown is None:
        return nothing
    others = unknown.n_unknown - unknown.n_targets
    below = (unknown.n_targets > 0) & (unknown.n_known < k)
    below &= (k - unknown.n_known <= others) & ~_any(ranks, _known(ranks))
    settled = _any(ranks, _surely_in(ranks, k=k)) | (k >= unknown.n_known + unknown.n_unknown)
    settled |= (unknown.n_targets == 0) & ~_any(ranks, ~_surely_out(ranks, k=k))
    return np.where(unknown.anywhere, ~settled & (unknown.n_unknown > 0), below)


def undecided_reciprocal_rank(ranks: TargetRanks) -> NDArray[np.bool_]:
    """Return for which queries :func:`reciprocal_rank` depends on candidates without a score."""
    unknown, nothing = ranks.unknown, np.zeros(ranks.n_queries, bool)
    if unknown is None:
        return nothing
    known = _any(ranks, _known(ranks))
    anywhere = (known | (unknown.n_targets > 0)) & (unknown.n_known + unknown.n_unknown > 1)
    return np.where(unknown.anywhere, anywhere & (unknown.n_unknown > 0), _mixed(unknown) & ~known)


def undecided_average_precision(ranks: TargetRanks, *, k: int) -> NDArray[np.bool_]:
    """Return for which queries :func:`average_precision` depends on candidates without a score."""
    unknown, nothing = ranks.unknown, np.zeros(ranks.n_queries, bool)
    if unknown is None:
        return nothing
    below = (unknown.n_known < k) & _mixed(unknown)
    anywhere = _any(ranks, ~_surely_out(ranks, k=k)) | (unknown.n_targets > 0)
    anywhere &= (unknown.n_unknown > 0) & (unknown.n_known + unknown.n_unknown > 1)
    return np.where(unknown.anywhere, anywhere, below)


def _mixed(unknown: Unknown) -> NDArray[np.bool_]:
    """Return where some, but not all, of the unknown candidates are targets."""
    return (unknown.n_targets > 0) & (unknown.n_targets < unknown.n_unknown)


def _known(ranks: TargetRanks) -> NDArray[np.bool_]:
    """Return which ranked targets have a score, (n_ranked,)."""
    return np.ones(len(ranks.rows), bool) if ranks.is_known is None else ranks.is_known


def _surely_in(ranks: TargetRanks, *, k: int) -> NDArray[np.bool_]:
    """Return which targets are among the first ``k`` even with all unknown ones above them."""
    above = 0 if ranks.unknown is None else ranks.unknown.n_unknown[ranks.rows]
    return _known(ranks) & (ranks.greater + ranks.tied + above <= k)


def _surely_out(ranks: TargetRanks, *, k: int) -> NDArray[np.bool_]:
    """Return which targets are not among the first ``k`` even with no unknown one above them."""
    return _known(ranks) & (ranks.greater >= k)


def _any(ranks: TargetRanks, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which queries have a chosen target."""
    return np.bincount(ranks.rows[chosen], minlength=ranks.n_queries) > 0


def _sum_by_query(ranks: TargetRanks, values: PerQuery) -> PerQuery:
    return np.bincount(ranks.rows, values, ranks.n_queries).astype(np.float64)  # ints where empty


def _best_level(ranks: TargetRanks) -> tuple[NDArray[np.int64], ...]:
    """Return (row, greater, tied, targets among the tied) of each query's best-scored target."""
    best = np.flatnonzero(ranks.targets_greater == 0)
    rows, first = np.unique(ranks.rows[best], return_index=True)
    best = best[first]
    return rows, ranks.greater[best], ranks.tied[best], ranks.targets_tied[best]


def _harmonic(upto: NDArray[Any]) -> PerQuery:
    """Return the harmonic numbers H(0), H(1), ... as far as needed."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int(upto.max(initial=0)) + 1))])
