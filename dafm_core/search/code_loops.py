"""Codes and features scored, as loops for Numba to compile; in NumPy: ``screen.py``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from dafm_core.ground.half_precision import BITS, EXPONENT
from dafm_core.ground.machine_code import machine_code

EDGE, PER_UNIT, N_BUCKETS = np.float32(8), np.float32(256), 4096
"""Buckets of scores, from ``EDGE`` down to ``-EDGE``, and how many are in a unit."""
LAST: Final = np.float32(N_BUCKETS - 1)
ZERO, NOTHING = np.float32(0), np.int32(0)
CHUNK: Final = 1024
"""Images worked on at a time: they stay in the innermost cache."""


class CodeLoops(NamedTuple):
    """The loops of this file, compiled."""

    write_scores: Callable[..., Any]
    write_rest: Callable[..., Any]
    write_products: Callable[..., Any]
    write_half_products: Callable[..., Any]


def write_scores(
    codes: Any,
    weights: Any,
    scale: Any,
    shift: Any,
    said: Any,
    place: int,
    share: Any,
    scores: Any,
    seen: Any,
    summed: Any,
    counts: Any,
) -> None:
    """Write one model's standardised scores of images, and what a bank makes of them.

    Parameters
    ----------
    codes : ndarray of shape (n, d), int8
    weights : ndarray of shape (d,), int16
        None of whose products with codes can add up to more than an int32 holds.
    scale, shift : float32
        What a sum is multiplied with, and what is added to that.
    said : ndarray of shape (n, 2 K), float32
        Mean and spread that the bank gives each image; (0, 0) without one.
    place : int
        Where the model stands among those.
    share : float32
        Its part of the sum.
    scores, seen, summed : ndarray of shape (n,), float32
        Written, but for the sum, to which is added; without a bank nothing is written to seen.
    counts : ndarray of shape (N_BUCKETS,), int32
        Added to: how many are in each bucket; (0,) where nobody asks.
    """
    n_all, half = len(codes), said.shape[1] // 2
    buckets = np.empty(CHUNK, np.int32)
    for start in range(0, n_all, CHUNK):
        n = min(CHUNK, n_all - start)
        some, own = codes[start : start + n], scores[start : start + n]
        for i in range(n):
            row, total = some[i], NOTHING
            for j in range(len(weights)):  # of 16 bits at a time: twice as fast as floats
                total = np.int32(total + np.int32(np.int32(row[j]) * np.int32(weights[j])))
            own[i] = np.float32(total) * scale + shift
        if half:
            bank, raw = said[start : start + n], own
            own = seen[start : start + n]
            for i in range(n):
                own[i] = (raw[i] - bank[i, place]) / bank[i, half + place]
        part = summed[start : start + n]
        for i in range(n):
            part[i] += share * own[i]
        if len(counts):
            for i in range(n):  # many at a time; counting goes one by one
                buckets[i] = np.int32(min(max((EDGE - own[i]) * PER_UNIT, ZERO), LAST))
            for i in range(n):
                counts[buckets[i]] += 1


def write_rest(
    rest: Any,
    rows: Any,
    weights: Any,
    segments: Any,
    said: Any,
    places: Any,
    shares: Any,
    out: Any,
) -> None:
    """Write what the rest of their codes adds to a sum over models, of some images.

    Parameters
    ----------
    rest : ndarray of shape (n, D), int8
        Of all models side by side.
    rows : ndarray of shape (W,), int64
    weights : ndarray of shape (D,), float32
    segments : ndarray of shape (K, 2), int64
        Where each model's rest begins and ends.
    said : ndarray of shape (n, 2 K), float32
        As in :func:`write_scores`.
    places, shares : ndarray of shape (K,), int64 and float32
        Where each model stands in that, and its part of the sum.
    out : ndarray of shape (W,), float32
    """
    half = said.shape[1] // 2
    for i in range(len(rows)):
        row, total = rest[rows[i]], ZERO
        for k in range(len(shares)):
            some, own, product = (
                row[segments[k, 0] : segments[k, 1]],
                weights[segments[k, 0] : segments[k, 1]],
                ZERO,
            )
            for j in range(len(own)):
                product += np.float32(some[j]) * own[j]
            if half:
                product /= said[rows[i], half + places[k]]
            total += shares[k] * product
        out[i] = total


def write_products(features: Any, rows: Any, query: Any, out: Any) -> None:
    """Write the inner products of some rows of features (n, D), float32, with a query (D,)."""
    for i in range(len(rows)):
        row, product = features[rows[i]], ZERO
        for j in range(len(query)):
            product += row[j] * query[j]
        out[i] = product


def write_half_products(
    bits: Any, rows: Any, query: Any, words: Any, numbers: Any, out: Any
) -> None:
    """Write the same of finite features of half precision, given as their bits, int16.

    Parameters
    ----------
    words, numbers : ndarray of shape (D,), int32 and float32
        Room to work in: the same bytes.
    """
    for i in range(len(rows)):
        row, product = bits[rows[i]], ZERO
        for j in range(len(query)):
            words[j] = np.int32(np.int32(row[j]) << 13) & BITS  # see ``half_precision.py``
        for j in range(len(query)):
            product += numbers[j] * query[j]
        out[i] = product * EXPONENT


@cache
def code_loops() -> CodeLoops | None:
    """Return the loops as machine code, or None where Numba is missing or turned off."""
    score, rest = machine_code(write_scores), machine_code(write_rest)
    multiply, multiply_half = machine_code(write_products), machine_code(write_half_products)
    if score is None or rest is None or multiply is None or multiply_half is None:
        return None
    return CodeLoops(score, rest, multiply, multiply_half)
