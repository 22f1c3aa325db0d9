"""Numbers of half precision counted by their bits, as loops for Numba to compile.

Plain Python that any machine can run, slowly; the same counts from NumPy: ``half_precision.py``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

SIGN: Final = np.int16(-(1 << 15))
"""Bits of -0."""
MAGNITUDE, INFINITE = np.int16(0x7FFF), np.int16(0x7C00)
"""Bits but for the sign, and those of infinity; those of NaN are higher."""
COUNTED: Final = 8192
"""Cells counted at a time: as many as 16 bits hold."""


def count_in_rows(bits: Any, bars: Any, above: Any, level: Any) -> None:
    """Count what :func:`count_above` does: numbers of half precision, by their bits.

    Parameters
    ----------
    bits : ndarray of shape (B, N), int16
    bars : ndarray of shape (B,), int16
        No NaN.
    above, level : ndarray of shape (B,), int64
        Written.
    """
    for b in range(len(bits)):
        bar = np.int16(0) if bars[b] == SIGN else bars[b]
        below_zero = bar < 0
        turned = np.int16(bar ^ SIGN)  # in order without a sign
        n_above: Any = 0
        n_level: Any = 0
        n_negative: Any = 0
        for start in range(0, bits.shape[1], COUNTED):
            part = bits[b, start : start + COUNTED]
            more, same, negative = np.int16(0), np.int16(0), np.int16(0)
            if below_zero:
                for i in range(len(part)):
                    more = np.int16(more + np.int16(np.int16(part[i] ^ SIGN) < turned))
                    same = np.int16(same + np.int16(part[i] == bar))
            else:
                for i in range(len(part)):
                    more = np.int16(more + np.int16(part[i] > bar))
                    same = np.int16(same + np.int16(part[i] == bar))
                    negative = np.int16(negative + np.int16(part[i] == SIGN))
            n_above, n_level, n_negative = n_above + more, n_level + same, n_negative + negative
        above[b], level[b] = n_above, n_level + (n_negative if bar == 0 else 0)


def find_odd_rows(bits: Any, odd: Any) -> None:
    """Write which rows of half precision (B, N), given as int16, hold a NaN or +inf."""
    for b in range(len(bits)):
        n_odd, own = np.int32(0), bits[b]
        for i in range(len(own)):
            magnitude = np.int16(own[i] & MAGNITUDE)
            is_odd = (magnitude > INFINITE) | (own[i] == INFINITE)
            n_odd = np.int32(n_odd | np.int32(is_odd))
        odd[b] = n_odd != 0
