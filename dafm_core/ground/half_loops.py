"""Numbers of half and of single precision counted by their bits, as loops for Numba to compile.

Plain Python that any machine can run, slowly; the same counts from NumPy: ``half_precision.py``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

MAGNITUDE, INFINITE = np.int16(0x7FFF), np.int16(0x7C00)
"""Of half precision: bits but for the sign, and those of infinity; those of NaN are higher."""
COUNTED: Final = 8192
"""Cells counted at a time: as many as 16 bits hold."""


def count_in_rows(bits: Any, bars: Any, sign: Any, above: Any, level: Any) -> None:
    """Count how many numbers of a row are above its bar, and how many are level, by their bits.

    Parameters
    ----------
    bits : ndarray of shape (B, N), int16 or int32
        Of float16 or float32.
    bars : ndarray of shape (B,), of the same kind
        No NaN.
    sign : int16 or int32
        The bits of -0.
    above, level : ndarray of shape (B,), int64
        Written.
    """
    whole = bits.dtype.type  # counts of the same kind: as many at a time as there are numbers
    for b in range(len(bits)):
        bar = whole(0) if bars[b] == sign else bars[b]
        below_zero = bar < 0
        turned = whole(bar ^ sign)  # in order without a sign
        n_above: Any = 0
        n_level: Any = 0
        n_negative: Any = 0
        for start in range(0, bits.shape[1], COUNTED):
            part = bits[b, start : start + COUNTED]
            more, same, negative = whole(0), whole(0), whole(0)
            if below_zero:
                for i in range(len(part)):
                    more = whole(more + whole(whole(part[i] ^ sign) < turned))
                    same = whole(same + whole(part[i] == bar))
            else:
                for i in range(len(part)):
                    more = whole(more + whole(part[i] > bar))
                    same = whole(same + whole(part[i] == bar))
                    negative = whole(negative + whole(part[i] == sign))
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
