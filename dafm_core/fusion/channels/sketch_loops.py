"""Columns of a batch of a bank's queries, as loops for Numba to compile; in NumPy: ``sketch.py``.

Plain Python that any machine can run, slowly. A few columns at a time are laid out query after
query, so that all that is asked of them is read from the cache.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dafm_core.fusion.channels.reverse_ranks import LOWEST
from dafm_core.ground.float_bits import INFINITE, MAGNITUDE

TOGETHER: Final = 16
"""Columns looked at together: a line of the cache."""
EDGE, PER_UNIT, N_BUCKETS = np.float32(8), np.float32(64), 1024
"""Buckets of standardised scores, from ``EDGE`` down to ``-EDGE``, and how many are in a unit."""
LAST_BUCKET: Final = np.float32(N_BUCKETS - 1)
NEAR: Final = 64
"""Cells of which one comparison says that none of them is among the first."""
ZERO, HALF = np.float32(0), np.float32(0.5)


def fetch(bits: Any, scores: Any, place: Any, signs: Any, columns: Any, sums: Any) -> int:
    """Write a few columns query after query, and add each query to its sum.

    Parameters
    ----------
    bits, scores : ndarray of shape (B, W), int32 and float32
        The same bytes.
    place : ndarray of shape (B,), int64
        Of each query's sum.
    signs : ndarray of shape (B,), float32
    columns : ndarray of shape (W, B), float32
        Written; what has no score becomes ``LOWEST``.
    sums : ndarray of shape (M, W), float32
        Added to; what has no score adds nothing.

    Returns
    -------
    int
        How many cells have no score.
    """
    n_queries, width = bits.shape
    n_lost, row = 0, np.empty(TOGETHER, np.float32)
    for q in range(n_queries):
        own, sign, n_known = sums[place[q]], signs[q], 0
        for c in range(width):
            n_known += (bits[q, c] & MAGNITUDE) < INFINITE
        if n_known == width:
            for c in range(width):
                own[c] += sign * scores[q, c]
            for c in range(width):
                columns[c, q] = scores[q, c]
        else:
            n_lost += width - n_known
            for c in range(width):
                known = (bits[q, c] & MAGNITUDE) < INFINITE
                row[c] = scores[q, c] if known else LOWEST
                own[c] += sign * row[c] if known else ZERO
            for c in range(width):
                columns[c, q] = row[c]
    return n_lost


def count_column(values: Any, room: Any, counts: Any) -> None:
    """Write how many values are in each bucket; ``room`` is for as many int32 as values."""
    for j in range(N_BUCKETS):
        counts[j] = 0
    for i in range(len(values)):  # many at a time; counting goes one by one
        room[i] = np.int32(min(max((EDGE - values[i]) * PER_UNIT, ZERO), LAST_BUCKET))
    for i in range(len(values)):
        counts[np.uint32(room[i])] += 1


def write_first(values: Any, edge: Any, n: int, first: Any) -> bool:
    """Write the n highest values, descending, given an edge that at least n reach.

    Return whether there was room for all that reach it, and they were enough.
    """
    n_found = 0
    for start in range(0, len(values), NEAR):
        part, n_here = values[start : start + NEAR], np.int32(0)
        for i in range(len(part)):
            n_here += np.int32(part[i] >= edge)
        if n_here:
            if n_found + n_here > len(first):
                return False
            for i in range(len(part)):
                value = part[i]
                if value >= edge:
                    j = n_found
                    while j > 0 and first[j - 1] < value:
                        first[j] = first[j - 1]
                        j -= 1
                    first[j] = value
                    n_found += 1
    return n_found >= n


def write_ranked(counts: Any, ranks: Any, n_known: int, n_exact: int, out: Any) -> None:
    """Write the values at ranks beyond the first, evenly spread within their buckets."""
    t, before = n_exact, 0
    for j in range(N_BUCKETS):
        n_here = counts[j]
        while t < len(ranks) and ranks[t] <= min(before + n_here, n_known):
            way = (np.float32(ranks[t] - before) - HALF) / np.float32(n_here)
            out[t] = EDGE - (np.float32(j) + way) / PER_UNIT
            t += 1
        before += n_here
    while t < len(ranks):
        out[t] = LOWEST
        t += 1


def rank_column(
    values: Any,
    n_known: int,
    ranks: Any,
    n_exact: int,
    room: Any,
    counts: Any,
    first: Any,
    out: Any,
) -> bool:
    """Write a column's values at some ranks; return whether buckets could tell them.

    Parameters
    ----------
    values : ndarray of shape (B,), float32
        ``LOWEST`` where there is no score.
    ranks : ndarray of shape (R,), int64
        Ascending; the first ``n_exact`` are 1, 2, 3, ...
    room, counts, first : ndarray
        Room to work in: B and ``N_BUCKETS`` int32, some float32.
    out : ndarray of shape (R,), float32
        Written.
    """
    count_column(values, room, counts)
    counts[N_BUCKETS - 1] -= len(values) - n_known
    n_first = min(n_exact, n_known)
    if counts[0] > n_exact or counts[N_BUCKETS - 1]:
        return False
    j, reached = 0, counts[0]
    while reached < n_first:
        j += 1
        reached += counts[j]
    edge = EDGE - np.float32(j + 1) / PER_UNIT
    if not write_first(values, edge, n_first, first):
        return False
    for t in range(n_first):
        out[t] = first[t]
    write_ranked(counts, ranks, n_known, n_first, out)
    return True


def sketch_columns(
    bits: Any,
    scores: Any,
    place: Any,
    signs: Any,
    ranks: Any,
    n_exact: int,
    moments: Any,
    values: Any,
    sums: Any,
    crowded: Any,
) -> None:
    """Write what ``ColumnSketch`` holds of a batch of row-standardised scores.

    Parameters
    ----------
    bits, scores : ndarray of shape (B, K, N), int32 and float32
        The same bytes; -inf or NaN where there is no score.
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
    n_queries, n_models, n_gallery = scores.shape
    columns, room = np.empty((TOGETHER, n_queries), np.float32), np.empty(n_queries, np.int32)
    counts, first = np.empty(N_BUCKETS, np.int32), np.empty(4 * n_exact, np.float32)
    out = np.empty((TOGETHER, len(ranks)), np.float32)
    for k in range(n_models):
        for start in range(0, n_gallery, TOGETHER):
            stop = min(start + TOGETHER, n_gallery)
            own_bits, own, own_sums = (
                bits[:, k, start:stop],
                scores[:, k, start:stop],
                sums[:, k, start:stop],
            )
            n_lost = fetch(own_bits, own, place, signs, columns, own_sums)
            for c in range(stop - start):
                column, n_known, total, squares = columns[c], n_queries, 0.0, 0.0
                for q in range(n_queries):
                    total += np.float64(column[q])
                    squares += np.float64(column[q]) * np.float64(column[q])
                if n_lost:
                    n_known, total, squares = 0, 0.0, 0.0
                    for q in range(n_queries):
                        known = column[q] != LOWEST
                        value = np.float64(column[q] if known else ZERO)
                        n_known += known
                        total += value
                        squares += value * value
                    mean = np.float32(total / max(1, n_known))
                    for q in range(n_queries):
                        if column[q] == LOWEST:
                            own_sums[place[q], c] += signs[q] * mean
                moments[0, k, start + c] = n_known
                moments[1, k, start + c] = total
                moments[2, k, start + c] = squares
                crowded[k, start + c] = not rank_column(
                    column, n_known, ranks, n_exact, room, counts, first, out[c]
                )
            for t in range(len(ranks)):
                for c in range(stop - start):
                    values[t, k, start + c] = out[c, t]


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
