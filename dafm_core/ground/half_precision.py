"""Numbers of half precision: as float32, and compared by their bits alone.

NumPy does little with float16 itself without converting each number, one by one.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

INFINITE: Final = 0x7C00
"""Bits of infinity; its negative has the sign, ``NEGATIVE``, too, and NaN has higher ones."""
NEGATIVE: Final = 0x8000
LONG: Final = 512
"""Cells of a row from which counting row by row is faster than all rows at once."""


def widen(block: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Write scores (B, N) as float32; float16 by looking up what each of its numbers is.

    That is faster than NumPy converts them.
    """
    if block.dtype != np.float16 or block.size < len(float16_numbers()):
        out[:] = block
        return
    for row, wide in zip(np.asarray(block), out, strict=True):  # a memory map makes slow rows
        np.take(float16_numbers(), row.view(np.uint16), out=wide, mode="clip")


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
