"""Rows read, and channels of chosen candidates, as loops for Numba to compile.

Plain Python that any machine can run, slowly; the same numbers from NumPy: ``nearly.py``. No number
in here is infinite or NaN: what has no score is ``MISSING``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from dafm_core.fusion.channels.reverse_ranks import LOWEST, SMALLEST_GAP
from dafm_core.ground.machine_code import machine_code
from dafm_core.ground.normalize import SMALLEST_SPAN

MISSING: Final = np.float32(-1e30)
"""Stands for a score that is excluded."""
MISSING_BITS: Final = int(MISSING.view(np.int32))
MAGNITUDE: Final = 0x7FFFFFFF
"""Bits of a float32 without its sign."""
INFINITE: Final = 0x7F800000
"""Magnitude of an infinite float32; those of NaN are higher."""
CHUNK: Final = 2048
"""Cells worked on at a time: they stay in the innermost cache."""
RUN: Final = 64
"""Cells of which one comparison says that none of them is missing."""
EDGE, PER_UNIT, N_BUCKETS = np.float32(8), np.float32(256), 4096
"""Buckets of evidence, from ``EDGE`` down to ``-EDGE``, and how many are in a unit of it."""
LAST_BUCKET: Final = np.float32(N_BUCKETS - 1)
ZERO, ONE = np.float32(0), np.float32(1)
GAP: Final = np.float32(SMALLEST_GAP)
FLAT: Final = np.float32(-40)
"""Where the exponential is nothing beside 1."""
SCALE: Final = np.float32(1 / 32)
C2, C3, C4, C5, C6 = (np.float32(1 / math.factorial(i)) for i in range(2, 7))


class RowLoops(NamedTuple):
    """The loops of this module as machine code."""

    read_rows: Callable[..., Any]
    choose: Callable[..., Any]
    write_channels: Callable[..., Any]


@cache
def row_loops() -> RowLoops | None:
    """Return the loops as machine code, or None where Numba is missing or turned off."""
    readers = (missing_places, standardise, entropy, count_buckets)
    writers = (write_log_ranks, write_reverse, write_topics)
    read = machine_code(read_rows, *readers, exact=(shift_and_divide, standard, bucket_of))
    first = machine_code(choose)
    write = machine_code(write_channels, *writers, write_neighbours, exact=(bucket_of,))
    return RowLoops(read, first, write) if read and first and write else None


def missing_places(values: Any, places: Any) -> int:
    """Write where values are missing, and return how many are."""
    n = 0
    for start in range(0, len(values), RUN):
        run = values[start : start + RUN]
        lowest = run[0]
        for i in range(len(run)):
            lowest = min(lowest, run[i])
        if lowest == MISSING:
            for i in range(len(run)):
                if run[i] == MISSING:
                    places[n] = start + i
                    n += 1
    return n


def standardise(values: Any, places: Any, out: Any) -> tuple[Any, Any, Any]:
    """Write values less their mean over their standard deviation.

    What is missing takes no part and becomes 0. ``values`` of missing cells are overwritten. The
    same bits as ``normalize.zscore_rows``: equal scores stay equal, and so do ranks.

    Returns
    -------
    highest, lowest : float32
        Of what was written.
    differ : bool
        Whether any two of the values do.
    """
    n_all, n = len(values), max(1, len(values) - len(places))
    high = values[0]
    for i in range(n_all):
        high = max(high, values[i])
    for i in range(len(places)):
        values[places[i]] = high
    low = high
    for i in range(n_all):
        low = min(low, values[i])
    span = high - low
    differ = span > SMALLEST_SPAN * max(abs(high), abs(low))
    if not differ:
        span = ONE
    total = 0.0
    for start in range(0, n_all, CHUNK):
        part = out[start : start + CHUNK]
        shift_and_divide(values[start : start + CHUNK], high, span, part)
        for i in range(len(part)):
            total += part[i]
    mean, squares = np.float32(total / n), 0.0
    for start in range(0, n_all, CHUNK):
        part = out[start : start + CHUNK]
        shift_and_divide(part, mean, ONE, part)
        for i in range(len(part)):
            squares += np.float64(part[i]) * part[i]
    lost = np.float64(standard(ZERO, mean, ONE))  # the missing count as the highest score so far
    std = np.float32(math.sqrt(max(0.0, squares - len(places) * lost * lost) / n))
    differ = differ and std > 0
    if differ:
        shift_and_divide(out, ZERO, std, out)
        for i in range(len(places)):
            out[places[i]] = ZERO
        highest = standard(standard(ZERO, mean, ONE), ZERO, std)
        lowest = standard(standard(standard(low, high, span), mean, ONE), ZERO, std)
        return highest, lowest, differ
    for i in range(n_all):
        out[i] = ZERO
    return ZERO, ZERO, differ


def shift_and_divide(values: Any, shift: Any, divisor: Any, out: Any) -> None:
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
    raw: Any,
    values: Any,
) -> None:
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
    raw, values : ndarray of shape (N,), int32 and float32
        Room to work in: the same bytes.
    """
    n_rows, n_models, n_gallery = bits.shape
    for b in range(n_rows):
        for k in range(n_models):
            own, row, column = bits[b, k], rows[b, k], columns[b, k]
            n = 0
            for i in range(n_gallery):
                known = (own[i] & MAGNITUDE) < INFINITE
                raw[i] = own[i] if known else MISSING_BITS
                n += 1 - known
            if n:
                n = missing_places(values, missing[b, k])
            places, n_missing[b, k] = missing[b, k, :n], n
            highest, lowest, differ[b, 0, k] = standardise(values, places, row)
            for i in range(n):
                row[places[i]] = lowest
            entropies[b, k] = entropy(row, highest)
            differ[b, 1, k] = differ[b, 0, k]
            if mean.shape[1] and differ[b, 0, k]:
                centre, spread = mean[k], std[k]
                for i in range(n_gallery):
                    column[i] = values[i] = standard(row[i], centre[i], spread[i])
                for i in range(n):
                    values[places[i]] = MISSING
                differ[b, 1, k] = standardise(values, places, evidence[b, k])[2]
            else:
                for i in range(n_gallery):
                    column[i] = evidence[b, k, i] = row[i]
            for i in range(n):
                column[places[i]] = ZERO
                evidence[b, k, places[i]] = MISSING
            count_buckets(evidence[b, k], starts[b, k])


def choose(evidence: Any, bars: Any, n_first: int, n_level: Any, mask: Any, chosen: Any) -> int:
    """Write the candidates, ascending, that reach any model's bar; return how many they are.

    Parameters
    ----------
    evidence : ndarray of shape (K, N), float32
    bars : ndarray of shape (K,), float32
        The evidence of each model's ``n_first``-th candidate.
    n_level : ndarray of shape (K,), int32
        Written: how many are level with each bar.
    mask : ndarray of shape (N,), uint8
        Room to work in.
    chosen : ndarray of shape (N + 1,), int32
        Written.
    """
    n_models, n_gallery = evidence.shape
    for i in range(n_gallery):
        mask[i] = 0
    for k in range(n_models):
        bar, own, level, above = bars[k], evidence[k], np.int32(0), np.int32(0)
        for i in range(n_gallery):
            level += np.int32(own[i] == bar)
            above += np.int32(own[i] > bar)
        n_level[k] = level
        if above + level > 2 * n_first:  # those level with so many say nothing for themselves
            for i in range(n_gallery):
                mask[i] |= np.uint8(own[i] > bar)
        else:
            for i in range(n_gallery):
                mask[i] |= np.uint8(own[i] >= bar)
    width = 0
    for i in range(n_gallery):
        chosen[width] = i
        width += mask[i]
    return width


def bucket_of(value: Any) -> Any:
    """Return in which bucket a value is, rounded as NumPy rounds it."""
    return np.int32(min(max((EDGE - value) * PER_UNIT, ZERO), LAST_BUCKET))


def count_buckets(values: Any, starts: Any) -> None:
    """Write how many values are in the buckets before each, of shape (N_BUCKETS + 1,)."""
    for j in range(N_BUCKETS + 1):
        starts[j] = 0
    for i in range(len(values)):
        starts[bucket_of(values[i]) + 1] += 1
    for j in range(N_BUCKETS):
        starts[j + 1] += starts[j]


def write_log_ranks(
    values: Any, chosen: Any, top: Any, n: int, n_level: int, starts: Any, sums: Any, out: Any
) -> None:
    """Write how far the logarithm of each chosen candidate's rank is below the row's mean.

    Ranks are exact among the ``top`` scores (M,), descending, with the last of which ``n_level``
    are level; below, all in a bucket share their mean rank.
    """
    n_top = min(len(top), n)
    bar = top[n_top - 1]
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
    mean = total / n
    for w in range(len(chosen)):
        value = values[chosen[w]]
        if value >= bar:
            above, stop = 0, n_top  # how many are higher, by halving
            while above < stop:
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
            j = bucket_of(value)
            rank = max(n_top + 1.0, (starts[j] + starts[j + 1] + 1) / 2)
        out[w] = mean - math.log(rank)


def write_reverse(values: Any, chosen: Any, limits: Any, steps: Any, out: Any) -> None:
    """Write :meth:`ReverseRanks.log_ranks` of chosen candidates."""
    last = len(steps) - 1
    for w in range(len(chosen)):
        i = chosen[w]
        score, total = max(values[i], LOWEST), ZERO
        for t in range(last):
            below = limits[i, t] - score
            if below <= 0:
                break
            gap, step = max(limits[i, t] - limits[i, t + 1], GAP), steps[t + 1] - steps[t]
            total += step if below >= gap else step * below / gap
        out[w] = steps[last] - ONE - total


def write_topics(
    chosen: Any,
    shares: Any,
    directions: Any,
    sums: Any,
    products: Any,
    places: Any,
    n: int,
    out: Any,
) -> None:
    """Write what a row has in common with the bank's directions, standardised over the row.

    ``places`` are the missing candidates, which take no part in the row's mean and spread.
    """
    n_topics = len(shares)
    total, squares = 0.0, 0.0
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
    centre, factor = np.float32(mean), np.float32(1 / spread if spread > 1e-6 else 0.0)
    for w in range(len(chosen)):
        i, part = chosen[w], ZERO
        for h in range(n_topics):
            part += shares[h] * directions[i, h]
        out[w] = (part - centre) * factor


def write_neighbours(values: Any, chosen: Any, nearest: Any, n_near: Any, out: Any) -> None:
    """Write the mean over each chosen candidate's nearest others; the missing count as 0."""
    for w in range(len(chosen)):
        i, total = chosen[w], ZERO
        for m in range(n_near[i]):
            total += values[nearest[i, m]]
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
        Products of the columns with the directions.
    chosen : ndarray of shape (W,), int32
    families : ndarray of shape (9,), int64
        Where each family of ``FAMILIES`` stands in the layout; -1 where it is not made here.
    present : ndarray of shape (K,), int64
        Where each model stands in the layout.
    sums : ndarray of shape (N + 1,), float64
        Logarithms of factorials.
    steps : ndarray of shape (T,), float32
        Logarithms of the bank's ranks.
    thresholds : ndarray of shape (K, N, T), float32
    directions : ndarray of shape (K, N, H), float32
    direction_sums, products : ndarray of shape (K, H), (K, H, H), float32
    nearest : ndarray of shape (N, M), int32
        Those that there are, first.
    n_near : ndarray of shape (N,), int32
        How many there are.
    channels : ndarray of shape (n_families, n_layout, W), float32
        Written; zero before.
    """
    n_models, n_gallery = evidence.shape
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
        if families[5] >= 0 and differ[0, k]:
            write_reverse(row, chosen, thresholds[k], steps, channels[families[5], at])
        if families[6] >= 0:
            known, found = (directions[k], direction_sums[k]), channels[families[6], at]
            write_topics(chosen, shares[k], known[0], known[1], products[k], places, n, found)
        for i in range(len(places)):  # says nothing of its neighbours
            row[places[i]] = own[places[i]] = ZERO
        if families[7] >= 0:
            write_neighbours(own, chosen, nearest, n_near, channels[families[7], at])
        if families[8] >= 0:
            write_neighbours(row, chosen, nearest, n_near, channels[families[8], at])
        for i in range(len(places)):
            own[places[i]] = MISSING
        for w in range(len(chosen) if len(places) else 0):
            if own[chosen[w]] == MISSING:  # by this model alone
                for f in range(channels.shape[0]):
                    channels[f, at, w] = ZERO
