"""Columns of a batch of a bank's queries, as loops for Numba to compile; in NumPy: ``sketch.py``.

Plain Python that any machine can run, slowly. One model's rows are dealt to columns as they come,
so that all that is asked of a column is read from the cache.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dafm_core.fusion.channels.reverse_ranks import LOWEST
from dafm_core.ground.float_bits import INFINITE, MAGNITUDE

TOGETHER: Final = 32
"""Columns that a few rows are dealt to before those of the next come."""
WRITTEN: Final = 64
"""Columns of which values are written together."""
EDGE, PER_UNIT, N_BUCKETS = np.float32(8), np.float32(64), 1024
"""Buckets of standardised scores, from ``EDGE`` down to ``-EDGE``, and how many are in a unit."""
LAST_BUCKET: Final = np.float32(N_BUCKETS - 1)
COUNTED: Final = 512
"""Scores whose buckets are found before they are counted."""
DEEP: Final = 16
"""Cells of which one comparison says that none of them is among the first."""
ZERO, HALF = np.float32(0), np.float32(0.5)


def deal_rows(
    bits: Any, rows: Any, place: Any, signs: Any, start: int, k: int, columns: Any, sums: Any
) -> None:
    """Write a few standardised rows of one model as columns, and add each to its sum.

    Parameters
    ----------
    bits, rows : ndarray of shape (R, N), int32 and float32
        The same bytes; what has no score becomes ``LOWEST``.
    place : ndarray of shape (R,), int64
        Of each row's sum.
    signs : ndarray of shape (R,), float32
    start : int
        Of the batch's queries, which the first row is.
    k : int
        The model.
    columns : ndarray of shape (N, >= B), float32
        Written.
    sums : ndarray of shape (M, K, N), float32
        Added to; what has no score adds nothing.
    """
    n_rows, n_gallery = rows.shape
    for q in range(n_rows):
        own_bits, own, to, sign, n_lost = bits[q], rows[q], sums[place[q], k], signs[q], 0
        for i in range(n_gallery):
            n_lost += (own_bits[i] & MAGNITUDE) >= INFINITE
        if n_lost == 0:
            for i in range(n_gallery):
                to[i] += sign * own[i]
        else:
            for i in range(n_gallery):
                known = (own_bits[i] & MAGNITUDE) < INFINITE
                to[i] += sign * own[i] if known else ZERO
                own[i] = own[i] if known else LOWEST
    in_fours = n_rows - n_rows % 4
    for left in range(0, n_gallery, TOGETHER):
        right = min(left + TOGETHER, n_gallery)
        for q in range(0, in_fours, 4):
            one, two = rows[q, left:right], rows[q + 1, left:right]
            three, four = rows[q + 2, left:right], rows[q + 3, left:right]
            for i in range(right - left):
                to = columns[left + i, start + q : start + q + 4]
                to[0], to[1], to[2], to[3] = one[i], two[i], three[i], four[i]
        for q in range(in_fours, n_rows):
            for i in range(left, right):
                columns[i, start + q] = rows[q, i]


def count_column(values: Any, room: Any, counts: Any) -> None:
    """Write how many values are in each bucket; ``room`` is for ``COUNTED`` int32."""
    for j in range(N_BUCKETS):
        counts[j] = 0
    for start in range(0, len(values), COUNTED):
        part = values[start : start + COUNTED]
        for i in range(len(part)):  # many at a time; counting goes one by one
            room[i] = np.int32(min(max((EDGE - part[i]) * PER_UNIT, ZERO), LAST_BUCKET))
        for i in range(len(part)):
            counts[np.uint32(room[i])] += 1


def collect_first(values: Any, edge: Any, highest: Any, near: Any, first: Any) -> int:
    """Write the values that reach an edge, in no order; return how many do, or more than there is
    room for.

    Parameters
    ----------
    values : ndarray of shape (B,), float32
    highest, near : ndarray of shape (B // DEEP,), float32 and int32
        Room to work in.
    first : ndarray of float32
        Written.
    """
    width, n_near, n = len(values) // DEEP, 0, 0
    for i in range(width):
        highest[i] = values[i]
    for start in range(width, DEEP * width, width):
        part = values[start : start + width]
        for i in range(width):
            highest[i] = max(highest[i], part[i])
    for i in range(width):
        near[n_near] = i
        n_near += highest[i] >= edge
    for h in range(n_near):
        if n + DEEP > len(first):
            return len(first) + 1
        for i in range(near[h], DEEP * width, width):
            first[n] = values[i]
            n += values[i] >= edge
    for i in range(DEEP * width, len(values)):
        if n == len(first):
            return len(first) + 1
        first[n] = values[i]
        n += values[i] >= edge
    return n


def sort_descending(values: Any) -> None:
    """Put a few values in order."""
    for i in range(1, len(values)):
        value, j = values[i], i
        while j > 0 and values[j - 1] < value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


def write_ranked(
    counts: Any, j: int, before: int, ranks: Any, n_known: int, n_exact: int, out: Any
) -> None:
    """Write the values at ranks beyond the first, evenly spread within their buckets.

    ``before`` are in the buckets before the j-th, where these ranks begin, or later.
    """
    t, n_ranks = n_exact, len(ranks)
    while j < N_BUCKETS and t < n_ranks:
        n_here = counts[j]
        while t < n_ranks and ranks[t] <= min(before + n_here, n_known):
            way = (np.float32(ranks[t] - before) - HALF) / np.float32(n_here)
            out[t] = EDGE - (np.float32(j) + way) / PER_UNIT
            t += 1
        before += n_here
        j += 1
    while t < n_ranks:
        out[t] = LOWEST
        t += 1


def rank_column(
    values: Any, n_known: int, ranks: Any, n_exact: int, room: Any, counts: Any, out: Any
) -> bool:
    """Write a column's values at some ranks; return whether buckets could tell them.

    Parameters
    ----------
    values : ndarray of shape (B,), float32
        ``LOWEST`` where there is no score.
    ranks : ndarray of shape (R,), int64
        Ascending; the first ``n_exact`` are 1, 2, 3, ...
    room : tuple of ndarray
        Room to work in: ``COUNTED`` int32, B // DEEP float32 and int32, some float32.
    counts : ndarray of shape (N_BUCKETS,), int32
        Room to work in.
    out : ndarray of shape (R,), float32
        Written.
    """
    buckets, highest, near, first = room
    count_column(values, buckets, counts)
    counts[N_BUCKETS - 1] -= len(values) - n_known
    n_first = min(n_exact, n_known)
    if counts[0] > n_exact or counts[N_BUCKETS - 1]:
        return False
    j, reached = 0, np.int64(counts[0])
    while reached < n_first:
        j += 1
        reached += counts[j]
    edge = EDGE - np.float32(j + 1) / PER_UNIT
    n_found = collect_first(values, edge, highest, near, first)
    if n_found > len(first) or n_found < n_first:
        return False
    sort_descending(first[:n_found])
    for t in range(n_first):
        out[t] = first[t]
    write_ranked(counts, j, reached - counts[j], ranks, n_known, n_first, out)
    return True


def sketch_columns(
    columns: Any,
    k: int,
    place: Any,
    signs: Any,
    ranks: Any,
    n_exact: int,
    moments: Any,
    values: Any,
    sums: Any,
    crowded: Any,
) -> None:
    """Write what ``ColumnSketch`` holds of one model's row-standardised scores in a batch.

    Parameters
    ----------
    columns : ndarray of shape (N, >= B), float32
        ``LOWEST`` where there is no score.
    k : int
        The model.
    place : ndarray of shape (B,), int64
    signs : ndarray of shape (B,), float32
        Which sum each query is in, and whether it is added or subtracted.
    ranks : ndarray of shape (R,), int64
        Ascending; the first ``n_exact`` are 1, 2, 3, ...
    moments : ndarray of shape (3, K, N), float64
        Written: count, sum, sum of squares.
    values : ndarray of shape (R, K, N), float32
        Written: scores at those ranks, the others to half a 64th.
    sums : ndarray of shape (M, K, N), float32
        Added to; what has no score counts as the mean of its column.
    crowded : ndarray of shape (K, N), bool
        Written: columns whose ``values`` have to be found otherwise.
    """
    n_queries, n_gallery = len(place), len(columns)
    room = (
        np.empty(COUNTED, np.int32),
        np.empty(n_queries // DEEP, np.float32),
        np.empty(n_queries // DEEP, np.int32),
        np.empty(4 * n_exact + DEEP, np.float32),
    )
    counts, out = np.empty(N_BUCKETS, np.int32), np.empty((WRITTEN, len(ranks)), np.float32)
    for start in range(0, n_gallery, WRITTEN):
        stop = min(start + WRITTEN, n_gallery)
        for i in range(start, stop):
            column, n_lost, total, squares = columns[i, :n_queries], 0, 0.0, 0.0
            for q in range(n_queries):
                n_lost += column[q] == LOWEST
            if n_lost == 0:
                for q in range(n_queries):
                    total += np.float64(column[q])
                    squares += np.float64(column[q]) * np.float64(column[q])
            else:
                for q in range(n_queries):
                    value = np.float64(column[q] if column[q] != LOWEST else ZERO)
                    total += value
                    squares += value * value
                mean = np.float32(total / max(1, n_queries - n_lost))
                for q in range(n_queries):
                    if column[q] == LOWEST:
                        sums[place[q], k, i] += signs[q] * mean
            n_known = n_queries - n_lost
            moments[0, k, i], moments[1, k, i], moments[2, k, i] = n_known, total, squares
            crowded[k, i] = not rank_column(
                column, n_known, ranks, n_exact, room, counts, out[i - start]
            )
        for t in range(len(ranks)):
            for i in range(start, stop):
                values[t, k, i] = out[i - start, t]


def merge_columns(scores: Any, entries: Any, weights: Any, ranks: Any, thresholds: Any) -> None:
    """Write each column's scores at some ranks.

    Parameters
    ----------
    scores : ndarray of shape (C, W), float32
        Each column's kept scores, descending.
    entries : ndarray of shape (C, W), uint32
        Which of the W kept scores each is.
    weights : ndarray of shape (W,), int64
        How many queries each kept score stands for.
    ranks : ndarray of shape (T,), int64
        Ascending, at most as many as queries.
    thresholds : ndarray of shape (T, C), float32
        Written.
    """
    n_ranks = len(ranks)
    for c in range(len(scores)):
        counted, t = 0, 0
        for i in range(len(weights)):
            counted += weights[entries[c, i]]
            while t < n_ranks and ranks[t] <= counted:
                thresholds[t, c] = scores[c, i]
                t += 1
            if t == n_ranks:
                break
