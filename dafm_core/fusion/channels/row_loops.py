"""Whole rows read, as loops for Numba to compile: standardised, described, dealt to buckets.

Plain Python that any machine can run, slowly; the same numbers from NumPy: ``view.py``. No number
in here is infinite or NaN: what has no score is ``MISSING``.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from dafm_core.ground.float_bits import (
    INFINITE,
    MAGNITUDE,
    less,
    order_of,
    shift_and_divide,
)
from dafm_core.ground.zscore_loops import SMALLEST_SPAN, find_ends

MISSING: Final = np.float32(-1e30)
"""Stands for a score that is excluded."""
MISSING_BITS: Final = int(MISSING.view(np.int32))
CHUNK: Final = 2048
"""Cells worked on at a time: they stay in the innermost cache."""
RUN: Final = 64
"""Cells of which one comparison says that none of them is missing."""
NEAR: Final = 64
"""Cells of which one comparison says that none of them is among the first."""
EDGE, PER_UNIT, N_BUCKETS = np.float32(8), np.float32(256), 4096
"""Buckets of evidence, from ``EDGE`` down to ``-EDGE``, and how many are in a unit of it."""
LAST_BUCKET: Final = np.float32(N_BUCKETS - 1)
ZERO, ONE = np.float32(0), np.float32(1)
FLAT: Final = np.float32(-40)
"""Where the exponential is nothing beside 1."""
SCALE: Final = np.float32(1 / 32)
C2, C3, C4, C5, C6 = (np.float32(1 / math.factorial(i)) for i in range(2, 7))


def missing_places(bits: Any, places: Any) -> int:
    """Write where values are missing, given as their bits, and return how many are."""
    n = 0
    for start in range(0, len(bits), RUN):
        run = bits[start : start + RUN]
        n_here = 0
        for i in range(len(run)):
            n_here += run[i] == MISSING_BITS
        if n_here:
            for i in range(len(run)):
                if run[i] == MISSING_BITS:
                    places[n] = start + i
                    n += 1
    return n


def find_known_ends(bits: Any, values: Any, places: Any, ends: Any) -> None:
    """Write the bits of the highest and the lowest value that is not missing; ``MISSING`` if none.

    What is missing becomes the highest: a comparison with it in the loop that looks for the lowest
    makes that loop go one by one.

    Parameters
    ----------
    bits, values : ndarray of shape (N,), int32 and float32
        The same bytes; ``MISSING`` where missing.
    places : ndarray of int32
        The missing ones.
    ends : ndarray of shape (2,), int32
    """
    find_ends(bits, ends)
    if len(places):
        high = ends.view(np.float32)[0]
        for i in range(len(places)):
            values[places[i]] = high
        find_ends(bits, ends)


def standardise(values: Any, places: Any, high: Any, low: Any, out: Any) -> tuple[Any, Any, Any]:
    """Write values less their mean over their standard deviation.

    What is missing takes no part and becomes 0. ``values`` of missing cells are overwritten. The
    same bits as ``normalize.zscore_rows``: equal scores stay equal, and so do ranks.

    Parameters
    ----------
    values : ndarray of shape (N,), float32
    places : ndarray of int32
        The missing ones.
    high, low : float32
        Highest and lowest of the others.
    out : ndarray of shape (N,), float32
        Written.

    Returns
    -------
    highest, lowest : float32
        Of what was written.
    differ : bool
        Whether any two of the values do.
    """
    n_all, n = len(values), max(1, len(values) - len(places))
    for i in range(len(places)):
        values[places[i]] = high
    span = high - low
    differ = span > SMALLEST_SPAN * max(abs(high), abs(low))
    if not differ:
        span = ONE
    total, squares = 0.0, 0.0
    for start in range(0, n_all, CHUNK):
        part = out[start : start + CHUNK]
        write_shifted(values[start : start + CHUNK], high, span, part)
        for i in range(len(part)):
            total += np.float64(part[i])
    mean = np.float32(total / n)
    for i in range(n_all):
        centred = np.float64(less(out[i], mean))
        squares += centred * centred
    lost = np.float64(less(ZERO, mean))  # the missing count as the highest score so far
    std = np.float32(math.sqrt(max(0.0, squares - len(places) * lost * lost) / n))
    differ = differ and std > 0
    if differ:
        shift_and_divide(out, mean, std)
        for i in range(len(places)):
            out[places[i]] = ZERO
        highest = standard(ZERO, mean, std)
        return highest, standard(standard(low, high, span), mean, std), differ
    for i in range(n_all):
        out[i] = ZERO
    return ZERO, ZERO, differ


def write_shifted(values: Any, shift: Any, divisor: Any, out: Any) -> None:
    """Write ``(values - shift) / divisor``, rounded as NumPy rounds it."""
    for i in range(len(values)):
        out[i] = (values[i] - shift) / divisor


def standard(value: Any, mean: Any, std: Any) -> Any:
    """Return ``(value - mean) / std``, rounded as NumPy rounds it."""
    return (value - mean) / std


def entropy(values: Any, first: Any) -> float:
    """Return the entropy of the softmax of values, of which ``first`` is the highest."""
    total, mixed = ZERO, ZERO
    for i in range(len(values)):
        below = max(values[i] - first, FLAT)
        u = below * SCALE
        e = ONE + u * (ONE + u * (C2 + u * (C3 + u * (C4 + u * (C5 + u * C6)))))
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        total += e
        mixed += e * below
    return float(math.log(total) - mixed / total)


def scaled(value: Any) -> Any:
    """Return how many buckets below ``EDGE`` a value is, rounded as NumPy rounds it."""
    return (EDGE - value) * PER_UNIT


def bucket_of(value: Any) -> Any:
    """Return in which bucket a value is."""
    return np.int32(min(max(scaled(value), ZERO), LAST_BUCKET))


def count_buckets(values: Any, room: Any, starts: Any) -> None:
    """Write how many values are in the buckets before each, of shape (N_BUCKETS + 1,).

    ``room`` is for as many int32 as there are values, or for ``CHUNK``.
    """
    for j in range(N_BUCKETS + 1):
        starts[j] = 0
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]  # compilers see through a part, not through a sum
        own = room[: len(part)]
        for i in range(len(part)):  # many at a time; counting goes one by one
            own[i] = bucket_of(part[i]) + np.int32(1)
        for i in range(len(part)):
            starts[np.uint32(own[i])] += 1
    for j in range(N_BUCKETS):
        starts[j + 1] += starts[j]


def edge_of(starts: Any, n: int) -> Any:
    """Return a value that at least n reach, given how many are in the buckets before each."""
    j = 0
    while j < N_BUCKETS - 1 and starts[j + 1] < n:
        j += 1
    return EDGE - np.float32(j + 1) / PER_UNIT if j < N_BUCKETS - 1 else MISSING


def collect(values: Any, edge: Any, out: Any) -> int:
    """Write the values that reach an edge; return how many do, or more than there is room for."""
    n, n_values = 0, len(values)
    for start in range(0, n_values - NEAR + 1, NEAR):
        part, n_here = values[start : start + NEAR], np.int32(0)
        for i in range(NEAR):
            n_here += np.int32(part[i] >= edge)
        if n_here:
            if n + NEAR > len(out):
                return len(out) + 1
            for i in range(NEAR):
                out[n] = part[i]
                n += part[i] >= edge
    for i in range(n_values - n_values % NEAR, n_values):
        if n == len(out):
            return len(out) + 1
        out[n] = values[i]
        n += values[i] >= edge
    for i in range(n, len(out)):
        out[i] = MISSING
    return n


def edge_by_sample(bits: Any, n: int, highest: Any, room: Any, starts: Any) -> Any:
    """Return a value that at least n reach, from the highest of every few.

    Parameters
    ----------
    bits : ndarray of shape (N,), int32
        Values, as their bits.
    highest : ndarray of shape (W,), int32
        Room to work in, for more than n.
    room, starts : ndarray of shape (N,) and (N_BUCKETS + 1,), int32
        Room to work in.
    """
    width = len(highest)
    for i in range(width):
        highest[i] = order_of(bits[i])
    for start in range(width, len(bits) - width + 1, width):
        part = bits[start : start + width]
        for i in range(width):
            highest[i] = max(highest[i], order_of(part[i]))
    for i in range(width):
        highest[i] = order_of(highest[i])
    count_buckets(highest.view(np.float32), room, starts)
    return edge_of(starts, n)


def read_rows(
    bits: Any,
    mean: Any,
    std: Any,
    rows: Any,
    columns: Any,
    evidence: Any,
    differ: Any,
    entropies: Any,
    missing: Any,
    n_missing: Any,
    starts: Any,
    best: Any,
    first: Any,
    raw: Any,
    values: Any,
    highest: Any,
    n_best: int,
    n_first: int,
) -> int:
    """Standardise whole rows as ``view.py`` does, and say what is needed of them as a whole.

    Parameters
    ----------
    bits : ndarray of shape (B, K, N), int32
        Raw scores, float32, as their bits.
    mean, std : ndarray of shape (K, N), float32
        Of the bank's columns; (K, 0) without a bank.
    rows, columns, evidence : ndarray of shape (B, K, N), float32
        Written. A missing cell has the row's lowest score, a column's 0, and ``MISSING`` evidence.
    differ : ndarray of shape (B, 2, K), bool
        Written: whether the scores of a row, and its evidence, are not all level.
    entropies : ndarray of shape (B, K), float32
        Written.
    missing, n_missing : ndarray of shape (B, K, N) and (B, K), int32
        Written: which cells have no score, at the start, and how many they are.
    starts : ndarray of shape (B, K, N_BUCKETS + 1), int32
        Written: how many cells have their evidence in the buckets before each.
    best, first : ndarray of shape (B, K, M) and (B, K, M'), float32
        Written: scores of a row, and its evidence, among which are the ``n_best`` and ``n_first``
        highest; filled up with ``MISSING``.
    raw, values : ndarray of shape (N,), int32 and float32
        Room to work in: the same bytes.
    highest : ndarray of shape (W,), int32
        Room to work in, for more than ``n_best`` and at most N.

    Returns
    -------
    int
        Rows that have more scores to be written than there is room for.
    """
    n_rows, n_models, n_gallery = bits.shape
    n_crowded, ends = 0, np.empty(2, np.int32)
    high_low = ends.view(np.float32)
    for k in range(n_models):  # what the bank says of a model stays in the cache
        for b in range(n_rows):
            own, row, column = bits[b, k], rows[b, k], columns[b, k]
            n = 0
            for i in range(n_gallery):
                known = (own[i] & MAGNITUDE) < INFINITE
                raw[i] = own[i] if known else MISSING_BITS
                n += 1 - known
            if n:
                n = missing_places(raw, missing[b, k])
            places, n_missing[b, k] = missing[b, k, :n], n
            find_known_ends(raw, values, places, ends)
            high, low = high_low[0], high_low[1]
            peak, lowest, differ[b, 0, k] = standardise(values, places, high, low, row)
            for i in range(n):
                row[places[i]] = lowest
            entropies[b, k] = entropy(row, peak)
            edge = edge_by_sample(row.view(np.int32), n_best, highest, raw, starts[b, k])
            crowded = collect(row, edge, best[b, k]) > best.shape[2]
            differ[b, 1, k] = differ[b, 0, k]
            if mean.shape[1] and differ[b, 0, k]:
                centre, spread = mean[k], std[k]
                for i in range(n_gallery):
                    column[i] = values[i] = standard(row[i], centre[i], spread[i])
                for i in range(n):
                    values[places[i]] = MISSING
                find_known_ends(raw, values, places, ends)
                high, low = high_low[0], high_low[1]
                differ[b, 1, k] = standardise(values, places, high, low, evidence[b, k])[2]
            else:
                for i in range(n_gallery):
                    column[i] = evidence[b, k, i] = row[i]
            for i in range(n):
                column[places[i]] = ZERO
                evidence[b, k, places[i]] = MISSING
            count_buckets(evidence[b, k], raw, starts[b, k])
            edge = edge_of(starts[b, k], n_first)
            crowded |= collect(evidence[b, k], edge, first[b, k]) > first.shape[2]
            n_crowded += crowded
    return n_crowded
