"""Products of small matrices of which all lies in the cache, as loops for Numba to compile.

Four rows by four are worked on at a time: what is read once goes into several products. Sizes that
are said to be so are multiples of four; ``widened`` fills up with zeros.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
LOWEST: Final = np.float32(-87)
"""Below it e to the power of a number is nothing beside 1."""
EXPONENT, MANTISSA = np.int32(127), np.int32(23)
"""What a float32 has its exponent raised by, and how many bits stand below it."""


LOG2_E, LN_2 = np.float32(math.log2(math.e)), np.float32(math.log(2))
E2, E3, E4, E5, E6 = (np.float32(1 / math.factorial(i)) for i in range(2, 7))


def write_powers(values: Any, powers: Any, scales: Any) -> None:
    """Write e to the power of each value, none above zero, many at a time; 0 for very low ones.

    ``scales``, as many int32, are room to work in: there the powers of two are put together by
    their bits.
    """
    for i in range(len(values)):
        value = max(values[i], LOWEST)
        whole = np.floor(value * LOG2_E + HALF)
        rest = value - whole * LN_2
        powers[i] = ONE + rest * (
            ONE + rest * (E2 + rest * (E3 + rest * (E4 + rest * (E5 + rest * E6))))
        )
        scales[i] = (np.int32(whole) + EXPONENT) << MANTISSA
    factors = scales.view(np.float32)
    for i in range(len(values)):
        powers[i] = powers[i] * factors[i] if values[i] > LOWEST else ZERO


def fours(n: int) -> int:
    """Return the next multiple of four."""
    return -(-n // 4) * 4


def widened(values: Any, n_rows: int, n_columns: int) -> Any:
    """Return values (R, C) in the corner of a larger array of zeros.

    One by one: for an array that is assigned to another Numba compiles a message, for seconds.
    """
    wide = np.zeros((n_rows, n_columns), np.float32)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            wide[i, j] = values[i, j]
    return wide


def mix(own: Any, since: int, weights: Any, out: Any) -> None:
    """Write a weighted sum of rows (C, W), C a multiple of four, to ``out``, from a place on."""
    until = since + len(out)
    out[:] = ZERO
    for j in range(0, len(own), 4):
        first, second = own[j, since:until], own[j + 1, since:until]
        third, last = own[j + 2, since:until], own[j + 3, since:until]
        a, b, c, d = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
        for w in range(len(out)):
            out[w] += (a * first[w] + b * second[w]) + (c * third[w] + d * last[w])


def mix_by_fours(weights: Any, own: Any, since: int, out: Any, start: int, stop: int) -> None:
    """Add ``weights`` (H, C) times columns of ``own``, from ``since`` on, to those of ``out`` from
    ``start`` to ``stop``; H and C are multiples of four. ``own`` may have fewer rows than C: the
    weights of those that it lacks are zero.
    """
    until, end = since + stop - start, len(own) - 1
    for h in range(0, len(out), 4):
        one, two = out[h, start:stop], out[h + 1, start:stop]
        three, four = out[h + 2, start:stop], out[h + 3, start:stop]
        for j in range(0, weights.shape[1], 4):
            first, second = own[j, since:until], own[min(j + 1, end), since:until]
            third, last = own[min(j + 2, end), since:until], own[min(j + 3, end), since:until]
            a0, b0, c0, d0 = weights[h, j], weights[h, j + 1], weights[h, j + 2], weights[h, j + 3]
            a1, b1 = weights[h + 1, j], weights[h + 1, j + 1]
            c1, d1 = weights[h + 1, j + 2], weights[h + 1, j + 3]
            a2, b2 = weights[h + 2, j], weights[h + 2, j + 1]
            c2, d2 = weights[h + 2, j + 2], weights[h + 2, j + 3]
            a3, b3 = weights[h + 3, j], weights[h + 3, j + 1]
            c3, d3 = weights[h + 3, j + 2], weights[h + 3, j + 3]
            for w in range(len(one)):
                a, b, c, d = first[w], second[w], third[w], last[w]
                one[w] += (a0 * a + b0 * b) + (c0 * c + d0 * d)
                two[w] += (a1 * a + b1 * b) + (c1 * c + d1 * d)
                three[w] += (a2 * a + b2 * b) + (c2 * c + d2 * d)
                four[w] += (a3 * a + b3 * b) + (c3 * c + d3 * d)


def add_dots_by_fours(units: Any, start: int, stop: int, own: Any, since: int, out: Any) -> None:
    """Add columns of ``units``, from ``start`` to ``stop``, times the transpose of as many of
    ``own``, from ``since`` on, to ``out`` (H, C); H and C are multiples of four. ``own`` may have
    fewer rows than C: nothing is said of those that it lacks.
    """
    until, end = since + stop - start, len(own) - 1
    for h in range(0, len(units), 4):
        one, two = units[h, start:stop], units[h + 1, start:stop]
        three, four = units[h + 2, start:stop], units[h + 3, start:stop]
        for j in range(0, out.shape[1], 4):
            first, second = own[j, since:until], own[min(j + 1, end), since:until]
            third, last = own[min(j + 2, end), since:until], own[min(j + 3, end), since:until]
            a0, b0, c0, d0, a1, b1, c1, d1 = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
            a2, b2, c2, d2, a3, b3, c3, d3 = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
            for w in range(len(one)):
                a, b, c, d = first[w], second[w], third[w], last[w]
                p, q, r, s = one[w], two[w], three[w], four[w]
                a0 += p * a
                b0 += p * b
                c0 += p * c
                d0 += p * d
                a1 += q * a
                b1 += q * b
                c1 += q * c
                d1 += q * d
                a2 += r * a
                b2 += r * b
                c2 += r * c
                d2 += r * d
                a3 += s * a
                b3 += s * b
                c3 += s * c
                d3 += s * d
            out[h, j] += a0
            out[h, j + 1] += b0
            out[h, j + 2] += c0
            out[h, j + 3] += d0
            out[h + 1, j] += a1
            out[h + 1, j + 1] += b1
            out[h + 1, j + 2] += c1
            out[h + 1, j + 3] += d1
            out[h + 2, j] += a2
            out[h + 2, j + 1] += b2
            out[h + 2, j + 2] += c2
            out[h + 2, j + 3] += d2
            out[h + 3, j] += a3
            out[h + 3, j + 1] += b3
            out[h + 3, j + 2] += c3
            out[h + 3, j + 3] += d3
