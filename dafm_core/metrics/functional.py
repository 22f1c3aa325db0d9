"""Per-query metrics from counts: expected values over a random order of tied candidates.

Each function returns one float64 per query, in [0, 1]; whoever calls averages. A constant scorer
gets what chance gets, whatever the order of the file.

Where some candidates have no score, a metric of a query is *decided* if every order that the known
scores allow gives the same value; the functions ``undecided_...`` say where it is not.

Examples
--------
Three queries over three candidates: the target alone on top, the target level with one other, and
two targets level with a third candidate.

>>> from dafm_core.ground.ragged import Ragged
>>> from dafm_core.metrics.ranking import rank_targets
>>> scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.9, 0.1], [0.9, 0.9, 0.9]])
>>> ranks = rank_targets(scores, Ragged.from_rows([[0], [0], [0, 1]]))
>>> recall(ranks, k=1).round(3).tolist()  # each of two targets is first in 1 of 3 orders
[1.0, 0.5, 0.333]
>>> hit(ranks, k=1).round(3).tolist()  # one of the two is first in 2 of 3 orders
[1.0, 0.5, 0.667]
>>> reciprocal_rank(ranks).round(3).tolist()  # 2/3 * 1 + 1/3 * 1/2
[1.0, 0.75, 0.833]
>>> average_precision(ranks, k=3).round(3).tolist()  # places 1 2, 1 3 and 2 3: (1 + 5/6 + 7/12) / 3
[1.0, 0.75, 0.806]

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
    # k - greater slots are left for the tie, and each of its members is as likely to get one: never
    # where the tie starts below k, certainly where it fits in.
    within = np.clip((k - ranks.greater) / ranks.tied, 0.0, 1.0)
    return _sum_by_query(ranks, within) / ranks.n_targets


def precision(ranks: TargetRanks, *, k: int) -> PerQuery:
    """Return the expected share of targets among the first ``k`` places, filled or not."""
    return recall(ranks, k=k) * ranks.n_targets / k


def capped_recall(ranks: TargetRanks, *, k: int) -> PerQuery:
    """Return the expected number of targets among the first ``k``, over min(k, their number)."""
    return recall(ranks, k=k) * ranks.n_targets / np.minimum(k, ranks.n_targets)


def hit(ranks: TargetRanks, *, k: int) -> PerQuery:
    """Return the probability that at least one target is among the first ``k`` candidates."""
    # Only the best level counts: where it is wholly within k there is a hit, and where it is not,
    # nothing below it is within k.
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
    # Several targets in one tie: the first of them stands at place p of the tie if the p - 1 before
    # it are no targets. A product of ratios, because binomials of large ties overflow.
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
    # The formula above is a straight line in i over g + i. With s its slope and c what is left,
    # (c + s (g + i)) / (g + i) = s + c / (g + i): summed over the places within k, this is s times
    # their number plus c times a difference of harmonic numbers. No loop over places.
    greater, tied = ranks.greater, ranks.tied
    slots = np.clip(k - greater, 0, tied)
    slope = (ranks.targets_tied - 1) / np.maximum(tied - 1, 1)  # 0 where nothing is level
    harmonic = _harmonic(greater + slots)
    span = harmonic[greater + slots] - harmonic[greater]
    offset = ranks.targets_greater + 1 - slope * (greater + 1)
    precision = (slope * slots + offset * span) / tied  # mean over the places of the tie
    return _sum_by_query(ranks, precision) / np.minimum(k, ranks.n_targets)


def trapezoid_precision(ranks: TargetRanks) -> PerQuery:
    """Return the expected area under precision over recall, of the whole ranking, by trapezoids.

    The j-th target (from 0) at rank r (from 0) adds the mean of j/r, which is 1 at r = 0, and
    (j + 1)/(r + 1), over n + 1e-5 targets: the average precision of the Oxford and Paris
    benchmarks as i-CIR and FreeDom compute it. A perfect ranking stays just below 1.

    References
    ----------
    Philbin et al., Object Retrieval with Large Vocabularies and Fast Spatial Matching, CVPR 2007.
    """
    # As in average_precision: at place i of its tie a target has R + (i - 1) s others before it,
    # and both fractions are a constant plus a constant over the rank.
    greater, tied = ranks.greater, ranks.tied
    slope = (ranks.targets_tied - 1) / np.maximum(tied - 1, 1)
    harmonic = _harmonic(greater + tied)
    after = slope * tied + (ranks.targets_greater + 1 - slope * (greater + 1)) * (
        harmonic[greater + tied] - harmonic[greater]
    )
    is_first = greater == 0  # whose j/r is 1 at rank 0
    before = slope * (tied - is_first) + (ranks.targets_greater - slope * greater) * (
        harmonic[greater + tied - 1] - harmonic[np.maximum(greater - 1, 0)]
    )
    area = (before + is_first + after) / (2 * tied)
    return _sum_by_query(ranks, area) / (ranks.n_targets + 1e-5)


def discounted_gain(ranks: TargetRanks, *, k: int) -> PerQuery:
    """Return the expected normalised discounted cumulative gain of the first ``k`` candidates.

    A target at rank i adds its grade over log2(i + 1); 1 is what the best order of all targets
    gets, those outside the gallery included. Without grades every target counts 1. Grades enter
    as they are, as in trec_eval, and not as powers of two.

    References
    ----------
    Järvelin and Kekäläinen, Cumulated Gain-based Evaluation of IR Techniques, TOIS 2002.
    """
    sums = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))])  # (k + 1,)
    first, last = np.minimum(ranks.greater, k), np.minimum(ranks.greater + ranks.tied, k)
    discounts = (sums[last] - sums[first]) / ranks.tied  # mean over the places of the tie
    if ranks.grades is None:
        ideal: PerQuery = sums[np.minimum(ranks.n_targets, k)]
        return _sum_by_query(ranks, discounts) / ideal
    best = -np.sort(-ranks.all_grades, axis=1)[:, :k]  # (Q, <= k)
    ideal = best @ np.diff(sums)[: best.shape[1]]
    return _sum_by_query(ranks, ranks.grades * discounts) / ideal


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


def undecided_trapezoid_precision(ranks: TargetRanks) -> NDArray[np.bool_]:
    """Return for which queries :func:`trapezoid_precision` depends on candidates without a
    score.
    """
    unknown, nothing = ranks.unknown, np.zeros(ranks.n_queries, bool)
    if unknown is None:
        return nothing
    known = _any(ranks, _known(ranks))
    anywhere = (known | (unknown.n_targets > 0)) & (unknown.n_known + unknown.n_unknown > 1)
    return np.where(unknown.anywhere, anywhere & (unknown.n_unknown > 0), _mixed(unknown))


def undecided_average_precision(ranks: TargetRanks, *, k: int) -> NDArray[np.bool_]:
    """Return for which queries :func:`average_precision` depends on candidates without a score."""
    unknown, nothing = ranks.unknown, np.zeros(ranks.n_queries, bool)
    if unknown is None:
        return nothing
    below = (unknown.n_known < k) & _mixed(unknown)
    anywhere = _any(ranks, ~_surely_out(ranks, k=k)) | (unknown.n_targets > 0)
    anywhere &= (unknown.n_unknown > 0) & (unknown.n_known + unknown.n_unknown > 1)
    return np.where(unknown.anywhere, anywhere, below)


def undecided_discounted_gain(ranks: TargetRanks, *, k: int) -> NDArray[np.bool_]:
    """Return for which queries :func:`discounted_gain` depends on candidates without a score.

    As for :func:`average_precision`; with grades also where several unknown candidates are targets,
    because then their order counts even if nothing else is unknown.
    """
    undecided = undecided_average_precision(ranks, k=k)
    if ranks.unknown is not None and ranks.grades is not None:
        undecided |= (ranks.unknown.n_targets > 1) & (ranks.unknown.n_known < k)
    return undecided


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
