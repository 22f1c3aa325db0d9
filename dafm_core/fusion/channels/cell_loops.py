"""Channels of chosen candidates, as loops for Numba to compile.

Plain Python that any machine can run, slowly; the same numbers from NumPy: ``cells.py``. All that
``write_channels`` calls stands here, but for two lines: Numba keeps machine code until this file
changes. No number in here is infinite or NaN: what has no score is ``MISSING``.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from dafm_core.fusion.channels.reverse_ranks import LOWEST, SMALLEST_GAP
from dafm_core.fusion.channels.row_loops import MISSING, ONE, ZERO, bucket_of

GAP: Final = np.float32(SMALLEST_GAP)
TOGETHER: Final = 32
"""Candidates of which what the bank says is fetched at a time, so that memory is waited for once.
"""


def mean_log_rank(top: Any, n: int, n_level: int, sums: Any) -> float:
    """Return the mean over a row of the logarithm of the rank, ties sharing their mean rank.

    Only runs of equal scores among the ``top`` (M,), descending, are looked at one by one; with
    the last of them ``n_level`` are level.
    """
    n_top = min(len(top), n)
    first, total = 0, sums[n]
    while first < n_top:
        end = first + 1
        while end < n_top and top[end] == top[first]:
            end += 1
        if end == n_top:
            end = first + n_level
        if end - first > 1:
            total += (end - first) * math.log((first + end + 1) / 2) - (sums[end] - sums[first])
        first = end
    return float(total / n)


def write_log_ranks(
    values: Any, chosen: Any, top: Any, n: int, n_level: int, starts: Any, sums: Any, out: Any
) -> None:
    """Write how far the logarithm of each chosen candidate's rank is below the row's mean.

    Ranks are exact among the ``top`` scores (M,), descending, with the last of which ``n_level``
    are level; below, all in a bucket share their mean rank.
    """
    n_top = min(len(top), n)
    bar, mean = top[n_top - 1], mean_log_rank(top, n, n_level, sums)
    for w in range(len(chosen)):
        value = values[chosen[w]]
        j = bucket_of(value)
        if value >= bar:
            above, stop = min(starts[j], n_top), min(starts[j + 1], n_top)
            while above < stop:  # how many are higher, by halving what is in its bucket
                middle = (above + stop) // 2
                if top[middle] > value:
                    above = middle + 1
                else:
                    stop = middle
            end = above
            while end < n_top and top[end] == value:
                end += 1
            level = n_level if value == bar else end - above
            rank = above + (level + 1) / 2
        else:
            rank = max(n_top + 1.0, (starts[j] + starts[j + 1] + 1) / 2)
        out[w] = mean - math.log(rank)


def write_topic_moments(
    shares: Any,
    directions: Any,
    sums: Any,
    products: Any,
    places: Any,
    n: int,
    moments: Any,
) -> None:
    """Write the mean over a row of what it has in common with the bank, and 1 over its spread.

    Parameters
    ----------
    shares : ndarray of shape (H,), float32
        What the row has of each direction.
    directions : ndarray of shape (N, H), float32
    sums, products : ndarray of shape (H,) and (H, H), float32
        Of the directions.
    places : ndarray of int32
        The missing candidates, which take no part.
    n : int
        How many are not missing.
    moments : ndarray of shape (2,), float32
        Written.
    """
    n_topics = len(shares)
    total: Any = 0.0
    squares: Any = 0.0
    for h in range(n_topics):
        total += shares[h] * sums[h]
        part = ZERO
        for g in range(n_topics):
            part += products[h, g] * shares[g]
        squares += shares[h] * part
    for i in range(len(places)):
        lost = ZERO
        for h in range(n_topics):
            lost += shares[h] * directions[places[i], h]
        total -= lost
        squares -= np.float64(lost) * lost
    mean = total / max(1, n)
    spread = math.sqrt(max(0.0, squares / max(1, n) - mean * mean))
    moments[0], moments[1] = mean, 1 / spread if spread > 1e-6 else 0.0


def write_topics(
    start: int, n: int, shares: Any, moments: Any, near: Any, present: Any, out: Any
) -> None:
    """Write what a few candidates have of the row's topics; parameters of :func:`write_known`."""
    n_models, n_topics = shares.shape
    for k in range(n_models):
        own, found = near[k], out[present[k]]
        for w in range(n):
            part = ZERO
            for h in range(n_topics):
                part += shares[k, h] * own[w, h]
            found[start + w] = (part - moments[k, 0]) * moments[k, 1]


def write_reverse_ranks(scores: Any, limits: Any, steps: Any, totals: Any) -> None:
    """Write :meth:`ReverseRanks.log_ranks` of a few candidates.

    Parameters
    ----------
    scores, totals : ndarray of shape (W,), float32
        Standardised; and what is written.
    limits : ndarray of shape (T, W), float32
        Their thresholds.
    steps : ndarray of shape (T,), float32
    """
    n, last = len(scores), len(steps) - 1
    for w in range(n):
        totals[w] = steps[last] - ONE
    for t in range(last):  # from one kept rank to the next, all candidates at once
        step, upper, lower = steps[t + 1] - steps[t], limits[t], limits[t + 1]
        for w in range(n):
            way = (upper[w] - scores[w]) / max(upper[w] - lower[w], GAP)
            totals[w] -= step * min(max(way, ZERO), ONE)


def write_known(
    rows: Any,
    differ: Any,
    chosen: Any,
    directions: Any,
    thresholds: Any,
    shares: Any,
    moments: Any,
    steps: Any,
    present: Any,
    with_topics: bool,
    topical: Any,
    with_reverse: bool,
    reverse: Any,
) -> None:
    """Write reverse ranks and topics of chosen candidates, each where it is asked for.

    Parameters
    ----------
    rows : ndarray of shape (K, N), float32
    differ : ndarray of shape (K,), bool
        Whether the scores of a row are not all level.
    chosen : ndarray of shape (W,), int32
    directions, thresholds : ndarray of shape (N, K, H) and (N, K, T), float32
        What the bank says of each candidate.
    shares : ndarray of shape (K, H), float32
    moments : ndarray of shape (K, 2), float32
        Of :func:`write_topic_moments`.
    steps : ndarray of shape (T,), float32
    present : ndarray of shape (K,), int64
        Where each model stands in the layout.
    topical, reverse : ndarray of shape (n_layout, W), float32
        Written.
    """
    (n_models, n_topics), n_kept = shares.shape, thresholds.shape[2]
    near = np.empty((n_models, TOGETHER, n_topics), np.float32)
    limits = np.zeros((n_models, n_kept, TOGETHER), np.float32)
    scores, totals = np.zeros(TOGETHER, np.float32), np.empty(TOGETHER, np.float32)
    for start in range(0, len(chosen), TOGETHER):
        n = min(TOGETHER, len(chosen) - start)
        for w in range(n):
            i = chosen[start + w]
            for k in range(n_models):
                for h in range(n_topics):
                    near[k, w, h] = directions[i, k, h]
                for t in range(n_kept):
                    limits[k, t, w] = thresholds[i, k, t]
        if with_topics:
            write_topics(start, n, shares, moments, near, present, topical)
        if with_reverse:
            for k in range(n_models):
                if differ[k]:
                    for w in range(n):
                        scores[w] = max(rows[k, chosen[start + w]], LOWEST)
                    write_reverse_ranks(scores, limits[k], steps, totals)
                    for w in range(n):
                        reverse[present[k], start + w] = totals[w]


def write_neighbours(
    values: Any, places: Any, chosen: Any, nearest: Any, n_near: Any, padded: Any, out: Any
) -> None:
    """Write the mean over each chosen candidate's nearest others; the missing count as 0.

    Parameters
    ----------
    values : ndarray of shape (N,), float32
    places : ndarray of int32
        The missing candidates.
    chosen, nearest, n_near
        As for :func:`write_channels`.
    padded : ndarray of shape (N + 1,), float32
        Room for a copy, in which what is none has 0 like what is missing: one pass brings it to
        the cache, and all sums have the same length.
    out : ndarray of shape (W,), float32
        Written.
    """
    n_gallery = len(values)
    for i in range(n_gallery):
        padded[i] = values[i]
    padded[n_gallery] = ZERO
    for i in range(len(places)):
        padded[places[i]] = ZERO
    for w in range(len(chosen)):
        i, total = chosen[w], ZERO
        for m in range(nearest.shape[1]):
            total += padded[nearest[i, m]]
        out[w] = total / max(1, n_near[i])


def write_channels(
    rows: Any,
    columns: Any,
    evidence: Any,
    differ: Any,
    missing: Any,
    n_missing: Any,
    starts: Any,
    top: Any,
    n_level: Any,
    shares: Any,
    chosen: Any,
    families: Any,
    present: Any,
    sums: Any,
    steps: Any,
    thresholds: Any,
    directions: Any,
    direction_sums: Any,
    products: Any,
    nearest: Any,
    n_near: Any,
    channels: Any,
) -> None:
    """Write the channels of the chosen candidates of one query.

    Parameters
    ----------
    rows, columns, evidence : ndarray of shape (K, N), float32
        Of one query, as :func:`read_rows` leaves them.
    differ, missing, n_missing, starts : ndarray
        The same.
    top : ndarray of shape (K, M), float32
        Each model's best evidence, descending.
    n_level : ndarray of shape (K,), int32
        Candidates that are level with the last of them.
    shares : ndarray of shape (K, H), float32
        What the row has of each direction.
    chosen : ndarray of shape (W,), int32
    families : ndarray of shape (9,), int64
        Where each family of ``FAMILIES`` stands in the layout; -1 where it is not made here.
    present : ndarray of shape (K,), int64
        Where each model stands in the layout.
    sums : ndarray of shape (N + 1,), float64
        Logarithms of factorials.
    steps : ndarray of shape (T,), float32
        Logarithms of the bank's ranks.
    thresholds : ndarray of shape (N, K, T), float32
    directions : ndarray of shape (N, K, H), float32
    direction_sums : ndarray of shape (K, H), float32
    products : ndarray of shape (K, H, H), float32
    nearest : ndarray of shape (N, M), int32
        Those that there are, first; N where there is none.
    n_near : ndarray of shape (N,), int32
        How many there are.
    channels : ndarray of shape (n_families, n_layout, W), float32
        Written; zero before.
    """
    n_models, n_gallery = evidence.shape
    with_reverse, with_topics = families[5] >= 0, families[6] >= 0
    padded = np.empty(n_gallery + 1, np.float32)
    if with_reverse or with_topics:
        moments = np.empty((n_models, 2), np.float32)
        for k in range(n_models):
            n, places = n_gallery - n_missing[k], missing[k, : n_missing[k]]
            own_sums, own_products = direction_sums[k], products[k]
            write_topic_moments(
                shares[k], directions[:, k], own_sums, own_products, places, n, moments[k]
            )
        write_known(
            rows,
            differ[0],
            chosen,
            directions,
            thresholds,
            shares,
            moments,
            steps,
            present,
            with_topics,
            channels[max(0, families[6])],
            with_reverse,
            channels[max(0, families[5])],
        )
    for k in range(n_models):
        at, row, own = present[k], rows[k], evidence[k]
        n, places = n_gallery - n_missing[k], missing[k, : n_missing[k]]
        if families[1] >= 0:
            for w in range(len(chosen)):
                channels[families[1], at, w] = row[chosen[w]]
        if families[2] >= 0:
            for w in range(len(chosen)):
                channels[families[2], at, w] = columns[k, chosen[w]]
        if families[3] >= 0:
            for w in range(len(chosen)):
                channels[families[3], at, w] = own[chosen[w]]
        if families[4] >= 0 and differ[1, k]:
            found = channels[families[4], at]
            write_log_ranks(own, chosen, top[k], n, n_level[k], starts[k], sums, found)
        if families[7] >= 0:
            found = channels[families[7], at]
            write_neighbours(own, places, chosen, nearest, n_near, padded, found)
        if families[8] >= 0:
            found = channels[families[8], at]
            write_neighbours(row, places, chosen, nearest, n_near, padded, found)
        for w in range(len(chosen) if len(places) else 0):
            if own[chosen[w]] == MISSING:  # by this model alone
                for f in range(channels.shape[0]):
                    channels[f, at, w] = ZERO
