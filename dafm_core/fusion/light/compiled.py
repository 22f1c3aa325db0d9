"""The exact loss of the paper's network as one loop over candidates, for Numba to compile.

Plain Python that any machine can run, slowly; :func:`compiled` gives the machine code where Numba
is installed, and None where it is not. The same numbers from torch: ``exact.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from dafm_core.ground.machine_code import machine_code

CHUNK: Final = 1024
"""Candidates worked on at a time: their hidden units stay in the innermost cache."""
HALF, ONE, SCALE = np.float32(0.5), np.float32(1), np.float32(1 / 32)
FLAT: Final = np.float32(36.0)
"""Square of the input beyond which GELU is flat, or the identity."""
ROOT: Final = np.float32(1 / math.sqrt(2))
DENSITY: Final = np.float32(1 / math.sqrt(2 * math.pi))
C2, C3, C4, C5, C6 = (np.float32(1 / math.factorial(i)) for i in range(2, 7))
P = np.float32(0.3275911)
A1, A2, A3 = np.float32(0.254829592), np.float32(-0.284496736), np.float32(1.421413741)
A4, A5 = np.float32(-1.453152027), np.float32(1.061405429)


@cache
def compiled() -> Callable[..., None] | None:
    """Return :func:`exact_rows` as machine code, or None where Numba is missing or turned off."""
    return machine_code(exact_rows, bell, normal_cdf, hidden_unit)


def bell(z: Any) -> Any:
    """Return exp(-z^2 / 2): its Taylor series at a 32nd of the exponent, squared five times."""
    u = -min(z * z, FLAT) * HALF * SCALE
    e = ONE + u * (ONE + u * (C2 + u * (C3 + u * (C4 + u * (C5 + u * C6)))))
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    return e * e


def normal_cdf(z: Any, e: Any) -> Any:
    """Return the normal distribution function at z, of which ``e`` is :func:`bell`.

    The error function is that of Abramowitz and Stegun, 7.1.26, to 1e-7.
    """
    t = ONE / (ONE + P * abs(z) * ROOT)
    tail = HALF * e * t * (A1 + t * (A2 + t * (A3 + t * (A4 + t * A5))))
    return tail if z < 0 else ONE - tail


def hidden_unit(pre: Any, x: Any, start: int, taps: Any, edge: Any, bias: Any) -> None:
    """Write one hidden unit of some candidates, before GELU, into ``pre`` of shape (n,).

    ``x`` is (K, N), ``taps`` (T, K), ``edge`` (T,); the candidates are those from ``start`` on.
    """
    n, (n_models, n_gallery), n_taps = len(pre), x.shape, len(edge)
    constant = bias
    for j in range(n_taps):
        constant += edge[j]
    for i in range(n):
        pre[i] = constant
    for j in range(n_taps):
        first = start + j - n_taps // 2
        low, high = max(0, -first), min(n, n_gallery - first)
        for i in range(low):
            pre[i] -= edge[j]
        for i in range(high, n):
            pre[i] -= edge[j]
        units = pre[low:high]
        for k in range(n_models):
            weight, values = taps[j, k], x[k, first + low : first + high]
            for i in range(len(units)):
                units[i] += weight * values[i]


def exact_rows(
    x: Any,
    removed: Any,
    target: Any,
    share: Any,
    tau: Any,
    taps: Any,
    edge: Any,
    bias: Any,
    out: Any,
    linear: Any,
    losses: Any,
    grad_taps: Any,
    grad_edge: Any,
    grad_bias: Any,
    grad_out: Any,
    grad_linear: Any,
) -> None:
    """Add the InfoNCE loss of some examples, and its gradient, to what stands in the outputs.

    Parameters
    ----------
    x : ndarray of shape (R, K, N), float32
        Min-max scores.
    removed : ndarray of shape (R, N), bool
        Candidates that are no rivals.
    target : ndarray of shape (R,), int64
    share : ndarray of shape (R,), float32
        What each example counts for.
    tau : float32
    taps : ndarray of shape (T, H, K)
        From the scores of T candidates side by side to hidden units.
    edge : ndarray of shape (T, H)
        Part of the bias that a tap brings, lost where it reaches beyond the gallery.
    bias, out : ndarray of shape (H,)
    linear : ndarray of shape (K,)
    losses : ndarray of shape (R,), float64
    grad_taps, grad_edge, grad_bias, grad_out, grad_linear : ndarray
        As the parameters.

    Notes
    -----
    Two passes: logits and their log-sum-exp, chunk by chunk; then the gradient, for which hidden
    units are made again.
    """
    n_rows, n_models, n_gallery = x.shape
    n_taps, n_hidden = edge.shape
    reach = n_taps // 2
    n_chunks = (n_gallery + CHUNK - 1) // CHUNK
    chance = np.empty(n_gallery, np.float32)
    peaks = np.empty(n_chunks, np.float32)
    pre = np.empty(CHUNK, np.float32)
    score = np.empty(CHUNK, np.float32)
    for row in range(n_rows):
        peak: Any = np.float32(-np.inf)
        own: Any = np.float32(0)
        total: Any = 0.0
        for chunk in range(n_chunks):
            start = chunk * CHUNK
            n = min(CHUNK, n_gallery - start)
            for i in range(n):
                score[i] = np.float32(0)
            for k in range(n_models):
                weight, values = linear[k], x[row, k, start : start + n]
                for i in range(n):
                    score[i] += weight * values[i]
            for h in range(n_hidden):
                hidden_unit(pre[:n], x[row], start, taps[:, h], edge[:, h], bias[h])
                weight = out[h]
                for i in range(n):
                    z = pre[i]
                    e = bell(z)
                    below = normal_cdf(z, e)
                    score[i] += weight * z * below
            best, gone = np.float32(-np.inf), removed[row, start : start + n]
            if start <= target[row] < start + n:
                own = score[target[row] - start] / tau
            for i in range(n):
                score[i] = score[i] / tau
                if not gone[i]:
                    best = max(best, score[i])
            peaks[chunk] = best
            part: Any = 0.0
            chances = chance[start : start + n]
            for i in range(n):
                p = np.float32(0)
                if not gone[i]:
                    p = np.float32(math.exp(score[i] - best))
                chances[i] = p
                part += p
            top = max(peak, best)
            if top > -np.inf:
                total = total * math.exp(peak - top) + part * math.exp(best - top)
            peak = top
        partition = peak + math.log(total)
        losses[row] += share[row] * (partition - own)
        for chunk in range(n_chunks):
            start = chunk * CHUNK
            n = min(CHUNK, n_gallery - start)
            factor = np.float32(share[row] * math.exp(peaks[chunk] - partition) / tau)
            chances = chance[start : start + n]
            for i in range(n):
                score[i] = chances[i] * factor
            if start <= target[row] < start + n:
                score[target[row] - start] -= np.float32(share[row] / tau)
            for k in range(n_models):
                part_linear = np.float32(0)
                values = x[row, k, start : start + n]
                for i in range(n):
                    part_linear += score[i] * values[i]
                grad_linear[k] += part_linear
            for h in range(n_hidden):
                hidden_unit(pre[:n], x[row], start, taps[:, h], edge[:, h], bias[h])
                weight, part_out, part_bias = out[h], np.float32(0), np.float32(0)
                for i in range(n):
                    z = pre[i]
                    e = bell(z)
                    below = normal_cdf(z, e)
                    part_out += score[i] * z * below
                    slope = score[i] * weight * (below + z * DENSITY * e)
                    part_bias += slope
                    pre[i] = slope
                grad_out[h] += part_out
                grad_bias[h] += part_bias
                for j in range(n_taps):
                    first = start + j - reach
                    low, high = max(0, -first), min(n, n_gallery - first)
                    inside, units = np.float32(0), pre[low:high]
                    for i in range(len(units)):
                        inside += units[i]
                    grad_edge[j, h] += inside
                    for k in range(n_models):
                        part_tap, values = np.float32(0), x[row, k, first + low : first + high]
                        for i in range(len(units)):
                            part_tap += units[i] * values[i]
                        grad_taps[j, h, k] += part_tap
