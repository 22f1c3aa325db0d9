"""Rows standardised, as loops for Numba to compile: the same bits as ``normalize.zscore_rows``.

Plain Python that any machine can run, slowly. Cells without a score are told by their bits: only
what is rounded as it is written (``exact`` in ``quick_rows.py``) meets infinite numbers or NaN.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from dafm_core.ground.float_bits import (
    HIGHEST_KEY,
    INFINITE,
    LOWEST_KEY,
    MAGNITUDE,
    less,
    order_of,
    shift_and_divide,
)
from dafm_core.ground.rank_loops import NO_SCORE, UNKNOWN, set_aside

SMALLEST_SPAN: Final = 4 * float(np.finfo(np.float32).eps)
"""Spread of a row, relative to its largest score, that is rounding: the row is constant."""
FARTHEST: Final = np.float32(2.0**126)
"""Scores up to which no difference is beyond float32."""
ZERO: Final = np.float32(0)


def add_to(sums: Any, scores: Any) -> None:
    """Add scores, -inf and NaN among them."""
    for i in range(len(sums)):
        sums[i] += scores[i]


def divide(sums: Any, n: Any) -> None:
    """Divide sums, -inf and NaN among them."""
    for i in range(len(sums)):
        sums[i] /= n


def find_ends(bits: Any, ends: Any) -> None:
    """Write the bits of the highest and the lowest score of a row, all of which are finite."""
    low, high = HIGHEST_KEY, LOWEST_KEY
    for i in range(len(bits)):
        order = order_of(np.int32(bits[i]))
        low, high = min(low, order), max(high, order)
    ends[0], ends[1] = order_of(high), order_of(low)


def standardise_row(bits: Any, places: Any, ends: Any, out_bits: Any, out: Any) -> bool:
    """Write a row less its mean over its standard deviation; say whether it could be done.

    It cannot where scores are so far apart that their difference may be beyond float32.

    Parameters
    ----------
    bits : ndarray of shape (N,), int32
        Of float32.
    places, ends : ndarray of shape (N,) and (2,), int32
        Room to work in.
    out_bits, out : ndarray of shape (N,), int32 and float32
        Written: the same bytes.
    """
    n_missing, differ = set_aside(bits, out_bits, places), False
    if n_missing < len(bits):
        find_ends(out_bits, ends)
        best, worst = ends.view(np.float32)[0], ends.view(np.float32)[1]
        largest = max(abs(best), abs(worst))
        if largest > FARTHEST:
            return False
        span = less(best, worst)
        if span > SMALLEST_SPAN * largest:
            for i in range(n_missing):  # they count as the best, and are taken out again
                out[places[i]] = best
            differ = standardise_shares(out, best, span, n_missing)
    if not differ:
        for i in range(len(out)):
            out[i] = ZERO
    for i in range(n_missing):
        place = places[i]
        out_bits[place] = UNKNOWN if (bits[place] & MAGNITUDE) > INFINITE else NO_SCORE
    return True


def standardise_shares(values: Any, best: Any, span: Any, n_missing: Any) -> bool:
    """Standardise values in place, those missing being ``best``; say whether they differ."""
    n = len(values) - n_missing
    shift_and_divide(values, best, span)
    total, squares = 0.0, 0.0
    for i in range(len(values)):
        total += np.float64(values[i])
    mean = np.float32(total / n)
    for i in range(len(values)):
        centred = np.float64(less(values[i], mean))
        squares += centred * centred
    lost = np.float64(less(ZERO, mean))  # of each that is missing
    std = np.float32(math.sqrt(max(0.0, squares - n_missing * lost * lost) / n))
    if std == 0:
        return False
    shift_and_divide(values, mean, std)
    return True


def standardise_rows(bits: Any, averaged: bool, out: Any, done: Any) -> None:
    """Write rows standardised, or the mean over models of standardised rows.

    Parameters
    ----------
    bits : ndarray of shape (B, K, N), int32
        Of float32.
    averaged : bool
    out : ndarray of shape (B, K, N), or (B, 1, N) of means, float32
        Written.
    done : ndarray of shape (B, K), bool
        Written: which rows could be standardised.
    """
    n_rows, n_models, n_gallery = bits.shape
    ends, places = np.empty(2, np.int32), np.empty(n_gallery, np.int32)
    row = np.empty(n_gallery, np.float32)
    for b in range(n_rows):
        for k in range(n_models):
            own = row if averaged and k > 0 else out[b, k]
            done[b, k] = standardise_row(bits[b, k], places, ends, own.view(np.int32), own)
            if averaged and k > 0:
                add_to(out[b, 0], row)
        if averaged:
            divide(out[b, 0], np.float32(n_models))
