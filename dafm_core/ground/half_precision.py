"""Numbers of half precision: as float32, and as whole numbers that compare as they do.

NumPy does little with float16 itself without converting each number, one by one.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAGNITUDE: Final = np.int16(0x7FFF)
"""Bits of a float16 without its sign."""
INFINITE: Final = np.int16(0x7C00)
"""What :func:`comparable` makes of infinity; of its negative, the number that is one below the
negative of this one.
"""


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


def comparable(scores: NDArray[Any]) -> NDArray[Any]:
    """Return numbers that compare as the scores do: of float16, whole numbers of 16 bits.

    NaN is beyond infinity, or its negative.

    Examples
    --------
    >>> comparable(np.array([-np.inf, -1, -0.0, 0, 1, np.inf], np.float16)).tolist()
    [-31745, -15361, 0, 0, 15360, 31744]
    >>> comparable(np.array([0.5, 2]))
    array([0.5, 2. ])
    """
    if scores.dtype != np.float16:
        return scores
    bits = np.ascontiguousarray(scores).view(np.int16)
    numbers: NDArray[np.int16] = bits >> np.int16(15)
    numbers &= MAGNITUDE
    numbers ^= bits
    numbers += numbers == -1  # -0 is level with 0
    return numbers


def are_odd(numbers: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Say of rows (B, N) of :func:`comparable` numbers whether there is a NaN or +inf in them."""
    high, low = numbers.max(axis=1, initial=0), numbers.min(axis=1, initial=0)
    odd: NDArray[np.bool_] = (high >= INFINITE) | (low < -INFINITE - 1)
    return odd
