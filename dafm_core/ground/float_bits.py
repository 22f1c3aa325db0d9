"""What loops that Numba compiles know of float32: its bits, their order, and exact arithmetic.

Compilers find the highest of whole numbers many at a time, of floats one by one; and they round as
it is written only what they are told to (``exact`` of ``machine_code.py``).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

MAGNITUDE: Final = 0x7FFFFFFF
"""Bits of a float32 without its sign."""
INFINITE: Final = 0x7F800000
"""Magnitude of an infinite float32; those of NaN are higher."""
HALF_LEAVES_OUT: Final = 0x1FFF
"""Bits of a float32 that no number of half precision has."""
LOWEST_KEY, HIGHEST_KEY = np.int32(-(1 << 31)), np.int32((1 << 31) - 1)
"""Of :func:`order_of`."""


def order_of(bits: Any) -> Any:
    """Return a whole number that is in order as the float32 of these bits is; and back again."""
    return np.int32(bits ^ ((bits >> 31) & MAGNITUDE))


def less(value: Any, mean: Any) -> Any:
    """Return ``value - mean``, rounded as NumPy rounds it."""
    return value - mean


def shift_and_divide(values: Any, shift: Any, divisor: Any) -> None:
    """Make values ``(value - shift) / divisor``, rounded as NumPy rounds it.

    In place: a compiler works on many at a time only where nothing else may be the same memory.
    """
    for i in range(len(values)):
        values[i] = (values[i] - shift) / divisor
