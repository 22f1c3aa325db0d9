"""Numbers of half precision: as float32, and compared by their bits alone.

NumPy does little with float16 itself without converting each number, one by one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.machine_code import machine_code

INFINITE: Final = 0x7C00
"""Bits of infinity; its negative has the sign, ``NEGATIVE``, too, and NaN has higher ones."""
NEGATIVE: Final = 0x8000
MAGNITUDE: Final = 0x7FFF
SIGN_BIT, ALL_EXPONENT = np.int32(-(1 << 31)), np.int32(0x7F800000)
"""Of float32."""
EXPONENT: Final = np.float32(2.0**112)
LONG: Final = 512
"""Cells of a row from which counting row by row is faster than all rows at once."""


def widen(block: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Write scores (B, N) as float32; float16 by looking up what each of its numbers is.

    That is faster than NumPy converts them; machine code is several times faster still, and used
    where something has loaded Numba already.
    """
    if block.dtype != np.float16 or block.size < len(float16_numbers()):
        out[:] = block
        return
    loop = widening_loop() if "numba" in sys.modules else None
    for row, wide in zip(np.asarray(block), out, strict=True):  # a memory map makes slow rows
        if loop is not None and row.flags.c_contiguous and wide.flags.c_contiguous:
            loop(row.view(np.int16), wide.view(np.int32), wide)
        else:
            np.take(float16_numbers(), row.view(np.uint16), out=wide, mode="clip")


def write_wide(bits: Any, words: Any, numbers: Any) -> None:
    """Write numbers of half precision, given as bits (N,), int16, as float32.

    The exponent of float32 has three bits more and another zero: bits are moved to their places,
    and a product with a power of two, which rounds nothing, mends the exponent of all but infinity
    and NaN.

    Parameters
    ----------
    bits : ndarray of shape (N,), int16
    words, numbers : ndarray of shape (N,), int32 and float32
        Written: the same bytes.
    """
    for i in range(len(bits)):
        words[i] = (np.int32(bits[i]) & SIGN_BIT) | ((np.int32(bits[i]) & MAGNITUDE) << 13)
    for i in range(len(bits)):
        numbers[i] *= EXPONENT
    for i in range(len(bits)):
        words[i] |= ALL_EXPONENT if (bits[i] & INFINITE) == INFINITE else 0


@cache
def widening_loop() -> Callable[..., Any] | None:
    """Return :func:`write_wide` as machine code, or None without Numba."""
    return machine_code(write_wide)


@cache
def float16_numbers() -> NDArray[np.float32]:
    """Return every number of float16, by its bits."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def count_rows(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many cells of each row (B, N) are true."""
    if mask.shape[1] < LONG:
        short: NDArray[np.int64] = np.count_nonzero(mask, axis=1)
        return short
    return np.array([np.count_nonzero(row) for row in mask], np.int64)


def count_above(
    scores: NDArray[Any], bars: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many scores of each row (B, N) are above its bar (B,), and how many are level.

    Examples
    --------
    >>> row = np.array([[-np.inf, -1, -0.5, -0.0, 0, 1]], np.float16)
    >>> [tuple(int(n[0]) for n in count_above(row, row[:, i])) for i in (1, 3, 5)]
    [(4, 1), (1, 2), (0, 1)]
    """
    if scores.dtype != np.float16:
        bars = bars[:, None]
        return count_rows(scores > bars), count_rows(scores == bars)
    above, level = np.empty(len(scores), np.int64), np.empty(len(scores), np.int64)
    for row, bar, i in zip(np.ascontiguousarray(scores), bars, range(len(scores)), strict=True):
        # As signed whole numbers the bits of numbers above 0 ascend, and all others are below; as
        # unsigned ones those of numbers below 0 descend, and all others are lower.
        bits: NDArray[Any] = row.view(np.uint16 if bar < 0 else np.int16)
        own = bits.dtype.type(bar.view(bits.dtype)) if bar else bits.dtype.type(0)
        above[i] = np.count_nonzero(bits < own if bar < 0 else bits > own)
        level[i] = np.count_nonzero(bits == own)
        if not bar:
            level[i] += np.count_nonzero(row.view(np.uint16) == NEGATIVE)
    return above, level


def are_odd(scores: NDArray[np.float16]) -> NDArray[np.bool_]:
    """Say of rows (B, N) whether there is a NaN or +inf in them."""
    bits = np.ascontiguousarray(scores)
    high = bits.view(np.int16).max(axis=1, initial=0) >= INFINITE
    odd: NDArray[np.bool_] = high | (
        bits.view(np.uint16).max(axis=1, initial=0) > (NEGATIVE | INFINITE)
    )
    return odd
