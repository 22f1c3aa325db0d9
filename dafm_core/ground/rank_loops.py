"""Rows ranked by counting, or by sorting digits, as loops for Numba to compile.

Plain Python that any machine can run, slowly; the same ranks from NumPy: ``row_ranks.py``. Scores
are given as the bits of float32, and ranks written as such: no float in here is infinite or NaN.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dafm_core.ground.float_bits import (
    HALF_LEAVES_OUT,
    HIGHEST_KEY,
    INFINITE,
    LOWEST_KEY,
    MAGNITUDE,
)

SHIFT: Final = 13
"""How many those are."""
SMALLEST_HALF: Final = 103 << 23
"""Bits of the smallest float32 above 0 that half precision has."""
GAP: Final = (SMALLEST_HALF >> SHIFT) - 1
"""How far the codes of the two smallest numbers of half precision are moved towards that of 0."""
COUNTED: Final = 16
"""Codes for each cell, from the lowest to the highest, up to which counting beats sorting."""
MOST_COUNTED: Final = 1 << 22
"""Cells up to which twice a mean rank is exact in float32."""
CHUNK: Final = 1024
"""Codes whose ranks are made at a time."""
DIGIT, N_DIGITS, LAST_DIGIT = 11, 3, (1 << 11) - 1
"""Of keys that are sorted, in bits; how many; and what one is at most."""
PLACE, LAST_PLACE = 31, (1 << 31) - 1
"""Bits below a key that say where it stood: together they are a whole number above 0."""
INFINITE_RANK, UNKNOWN = np.int32(0x7F800000), np.int32(0x7FC00000)
NO_SCORE: Final = np.int32(np.float32(-np.inf).view(np.int32))
"""Bits of what stands where a cell has no rank, or no score."""
HALF: Final = np.float32(0.5)
RUN: Final = 64
"""Cells of which one comparison says that all of them have a score."""


def rank_key(bits: Any) -> Any:
    """Return a whole number that is in order as the float32 of these bits is; one for both 0."""
    key = np.int32(bits ^ ((bits >> 31) & MAGNITUDE))
    return np.int32(key + (key == -1))  # -1 is what -0 becomes, and nothing else comes near 0


def half_code(key: Any) -> Any:
    """Return the same for numbers of half precision, in 16 bits and a little."""
    code = np.int32(key >> SHIFT)
    return np.int32(code - min(max(code, np.int32(-GAP)), np.int32(GAP)))


def share_beaten(n: Any, rank: Any) -> Any:
    """Return which share of the others a rank among n beats, rounded as NumPy rounds it."""
    others = np.float64(n - 1)
    return np.float32((np.float64(n) - np.float64(rank)) / others) if n > 1 else HALF


def set_aside(bits: Any, out: Any, places: Any) -> int:
    """Copy a row, and say which cells have no score; in the copy some other's stands there.

    Parameters
    ----------
    bits, out : ndarray of shape (N,), int32
        Of float32; ``out`` is written.
    places : ndarray of shape (N,), int32
        Written: which cells have no score, at the start.

    Returns
    -------
    int
        How many they are; if none has a score, the copy is as it was.
    """
    largest, n = np.int32(0), 0
    for i in range(len(bits)):
        out[i] = bits[i]
        largest = max(largest, np.int32(bits[i] & MAGNITUDE))
    if largest < INFINITE:
        return 0
    first = -1
    for start in range(0, len(bits), RUN):
        run = bits[start : start + RUN]
        n_here = np.int32(0)
        for i in range(len(run)):  # many at a time
            n_here += np.int32((run[i] & MAGNITUDE) >= INFINITE)
        if first < 0 or n_here:
            for i in range(len(run)):
                if (run[i] & MAGNITUDE) >= INFINITE:
                    places[n] = start + i
                    n += 1
                elif first < 0:
                    first = start + i
    if first >= 0:
        for i in range(n):
            out[places[i]] = bits[first]
    return n


def survey(bits: Any, facts: Any) -> None:
    """Write what decides how a row (N,) is ranked, all cells of which have a score.

    ``facts``, of shape (3,), int32: the lowest and the highest key, and what is not 0 where a score
    is not of half precision.
    """
    low, high, smallest, odd = HIGHEST_KEY, LOWEST_KEY, HIGHEST_KEY, np.int32(0)
    for i in range(len(bits)):
        own = np.int32(bits[i])
        magnitude, key = np.int32(own & MAGNITUDE), rank_key(own)
        low, high = min(low, key), max(high, key)
        smallest = min(smallest, np.int32((magnitude - 1) & MAGNITUDE))  # of 0: the largest
        odd |= np.int32(magnitude & HALF_LEAVES_OUT)
    facts[0], facts[1] = low, high
    facts[2] = odd | np.int32(smallest < SMALLEST_HALF - 1)


def rank_by_counts(
    ranks: Any, places: Any, low: Any, n_codes: int, counts: Any, as_shares: bool
) -> None:
    """Turn a row of half precision into its ranks: each of its numbers is counted.

    Parameters
    ----------
    ranks : ndarray of shape (N,), int32
        Of float32, on the way in and on the way out.
    places : ndarray of int32
        Cells without a score.
    low : int32
        Code of the lowest score.
    n_codes : int
        From there to the highest.
    counts : ndarray of shape (> n_codes,), int32
        Room to work in.
    as_shares : bool
        Whether to write the share of others that are beaten instead.
    """
    for j in range(n_codes + 1):
        counts[j] = 0
    high = np.int32(low + n_codes - 1)
    for i in range(len(ranks)):
        ranks[i] = high - half_code(rank_key(ranks[i]))
    for i in range(len(places)):
        ranks[places[i]] = n_codes
    for i in range(len(ranks)):
        counts[ranks[i]] += 1
    twice, n_known, means = np.int32(1), len(ranks) - len(places), counts.view(np.float32)
    sums = np.empty(CHUNK, np.int32)
    for start in range(0, n_codes, CHUNK):
        n_here = min(CHUNK, n_codes - start)
        for j in range(n_here):  # one by one, and twice the mean rank, which is whole
            n = counts[start + j]
            sums[j] = twice + n
            twice += 2 * n
        for j in range(n_here):  # many at a time
            means[start + j] = np.float32(sums[j]) * HALF
    if as_shares:
        for j in range(n_codes):
            means[j] = share_beaten(n_known, means[j])
    for i in range(len(ranks)):
        ranks[i] = counts[ranks[i]]


def rank_by_digits(
    bits: Any, n_missing: int, keys: Any, other: Any, starts: Any, ranks: Any
) -> None:
    """Write the ranks of a row, sorted by a few bits at a time; none of what is missing.

    Parameters
    ----------
    bits : ndarray of shape (N,), int32
    n_missing : int
    keys, other : ndarray of shape (N,), int64
        Room to work in.
    starts : ndarray of shape (N_DIGITS, LAST_DIGIT + 1), int32
        Room to work in.
    ranks : ndarray of shape (N,), int32
        Written: the bits of float32.
    """
    n = len(bits)
    for digit in range(N_DIGITS):
        for j in range(LAST_DIGIT + 1):
            starts[digit, j] = 0
    for i in range(n):
        own = np.int32(bits[i])
        known = (own & MAGNITUDE) < INFINITE
        key = np.int64(HIGHEST_KEY) - np.int64(rank_key(own) if known else LOWEST_KEY)
        keys[i] = (key << PLACE) | i
        for digit in range(N_DIGITS):
            starts[digit, (key >> (DIGIT * digit)) & LAST_DIGIT] += 1
    for digit in range(N_DIGITS):
        n_before, shift = np.int32(0), PLACE + DIGIT * digit
        for j in range(LAST_DIGIT + 1):
            n_own = starts[digit, j]
            starts[digit, j] = n_before
            n_before += n_own
        for i in range(n):
            j = (keys[i] >> shift) & LAST_DIGIT
            other[starts[digit, j]] = keys[i]
            starts[digit, j] += 1
        keys, other = other, keys
    first, n_known, as_float = 0, n - n_missing, ranks.view(np.float32)
    while first < n_known:
        last, key = first + 1, keys[first] >> PLACE
        while last < n_known and keys[last] >> PLACE == key:
            last += 1
        mean = np.float32(np.float64(first + last + 1) * 0.5)
        for i in range(first, last):
            as_float[keys[i] & LAST_PLACE] = mean
        first = last


def write_shares_beaten(scores: Any, n: int) -> None:
    """Turn ranks among n into shares of the others that are beaten, in place."""
    for i in range(len(scores)):
        scores[i] = share_beaten(n, scores[i])


def rank_rows_of_bits(bits: Any, ranks: Any, as_shares: bool) -> None:
    """Write each cell's rank in its row: +inf where excluded, NaN where unknown.

    Parameters
    ----------
    bits, ranks : ndarray of shape (R, N), int32
        Of float32; ``ranks`` is written.
    as_shares : bool
        Whether to write the share of others that are beaten instead, -inf where excluded.
    """
    n_rows, n = bits.shape
    most, places = COUNTED * n, np.empty(n, np.int32)
    counts, facts = np.empty(most + 1, np.int32), np.empty(3, np.int32)
    keys, other = np.empty(n, np.int64), np.empty(n, np.int64)
    starts = np.empty((N_DIGITS, LAST_DIGIT + 1), np.int32)
    excluded = NO_SCORE if as_shares else INFINITE_RANK
    for r in range(n_rows):
        own = ranks[r]
        n_missing = set_aside(bits[r], own, places)
        survey(own, facts)
        low, n_codes = half_code(facts[0]), half_code(facts[1]) - half_code(facts[0]) + 1
        if facts[2] or n_codes > most or n > MOST_COUNTED:
            rank_by_digits(bits[r], n_missing, keys, other, starts, own)
            if as_shares:
                write_shares_beaten(own.view(np.float32), n - n_missing)
        else:
            rank_by_counts(own, places[:n_missing], low, n_codes, counts, as_shares)
        for i in range(n_missing):
            place = places[i]
            own[place] = UNKNOWN if (bits[r, place] & MAGNITUDE) > INFINITE else excluded
