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
from dafm_core.ground.quick_rows import quick_rows

INFINITE: Final = 0x7C00
"""Bits of infinity; its negative has the sign, ``NEGATIVE``, too, and NaN has higher ones."""
NEGATIVE: Final = 0x8000
MAGNITUDE: Final = 0x7FFF
SIGN_BIT, ALL_EXPONENT = np.int32(-(1 << 31)), np.int32(0x7F800000)
"""Of float32."""
EXPONENT: Final = np.float32(2.0**112)
BITS: Final = np.array(0x8FFFE000, np.uint32).view(np.int32)[()]
"""Of float32: sign, the lower five bits of the exponent, the upper ten of the mantissa."""
BLOCK: Final = 1 << 16
"""Numbers widened at a time: they stay in the cache from one step to the next."""
ONE_ROW: Final = np.zeros(1, np.int64)
LONG: Final = 512
"""Cells of a row from which counting row by row is faster than all rows at once."""


def widen(block: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Write numbers, an array of any shape, as float32; float16 by moving bits about.

    That is several times faster than NumPy converts them. Machine code is faster still, and used
    where something has loaded Numba already.
    """
    if block.dtype != np.float16 or block.size < LONG:
        out[:] = block
        return
    if not (block.flags.c_contiguous and out.flags.c_contiguous):
        for row, wide in zip(np.asarray(block), out, strict=True):
            if row.ndim and row.flags.c_contiguous and wide.flags.c_contiguous:
                widen(row, wide)
            else:
                wide[...] = row
        return
    bits, numbers = np.asarray(block).reshape(-1).view(np.int16), out.reshape(-1)
    if (loop := _quick_loop()) is not None:
        loop(bits[None], ONE_ROW, numbers[None, None].view(np.int32), numbers[None, None], 0)
        return
    for start in range(0, len(bits), BLOCK):
        _widen(bits[start : start + BLOCK], numbers[start : start + BLOCK])


def widen_rows(
    matrix: NDArray[Any], rows: NDArray[np.int64], tile: NDArray[np.float32], k: int
) -> bool:
    """Write some rows of a matrix (Q, N) as those of model k of a tile (B, K, N), as float32.

    Each is read where it lies. Return whether it could be done: by machine code only.
    """
    loop = _quick_loop()
    in_order = matrix.flags.c_contiguous and tile.flags.c_contiguous
    if loop is None or matrix.dtype != np.float16 or not in_order:
        return False
    loop(np.asarray(matrix).view(np.int16), rows, tile.view(np.int32), tile, k)
    return True


def _quick_loop() -> Callable[..., Any] | None:
    """Return the loop as machine code, where something has loaded Numba already."""
    return widening_loop() if "numba" in sys.modules else None


def _widen(bits: NDArray[np.int16], numbers: NDArray[np.float32]) -> None:
    """Do in NumPy what :func:`write_wide` does."""
    words = numbers.view(np.int32)
    # The sign is repeated above the shifted bits, where three more bits of the exponent belong.
    np.left_shift(bits, 13, out=words, dtype=np.int32, casting="unsafe")
    words &= BITS
    numbers *= EXPONENT
    if bits.max() >= INFINITE or bits.view(np.uint16).max() >= NEGATIVE | INFINITE:
        words[(bits & INFINITE) == INFINITE] |= ALL_EXPONENT


def write_wide(bits: Any, rows: Any, words: Any, numbers: Any, k: int) -> None:
    """Write numbers of half precision, given as bits, as float32.

    The exponent of float32 has three bits more and another zero: bits are moved to their places,
    and a product with a power of two, which rounds nothing, mends the exponent of all but infinity
    and NaN.

    Parameters
    ----------
    bits : ndarray of shape (Q, N), int16
    rows : ndarray of shape (B,), int64
        Of ``bits``.
    words, numbers : ndarray of shape (B, K, N), int32 and float32
        The same bytes; those of ``k`` are written.
    """
    for b in range(len(rows)):
        row, own_words, own = bits[rows[b]], words[b, k], numbers[b, k]
        for i in range(len(row)):
            own_words[i] = (np.int32(row[i]) & SIGN_BIT) | ((np.int32(row[i]) & MAGNITUDE) << 13)
        for i in range(len(row)):
            own[i] *= EXPONENT
        for i in range(len(row)):
            own_words[i] |= ALL_EXPONENT if (row[i] & INFINITE) == INFINITE else 0


@cache
def widening_loop() -> Callable[..., Any] | None:
    """Return :func:`write_wide` as machine code, or None without Numba."""
    return machine_code(write_wide)


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
    quick = quick_rows()
    if quick is not None and scores.dtype == bars.dtype in (np.float16, np.float32):
        return quick.count_above(scores, bars)
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
    if (quick := quick_rows()) is not None:
        return quick.are_odd(scores)
    bits = np.ascontiguousarray(scores)
    high = bits.view(np.int16).max(axis=1, initial=0) >= INFINITE
    odd: NDArray[np.bool_] = high | (
        bits.view(np.uint16).max(axis=1, initial=0) > (NEGATIVE | INFINITE)
    )
    return odd
