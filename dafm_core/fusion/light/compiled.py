"""The exact loss of the paper's network as one loop over candidates, for Numba to compile.

Plain Python that any machine can run, slowly; :func:`compiled` gives the machine code where Numba
is installed, and None where it is not. The same numbers from torch: ``exact_blocks.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from dafm_core.ground.machine_code import machine_code
from dafm_core.ground.product_loops import (
    add_dots_by_fours,
    fours,
    mix_by_fours,
    widened,
    write_powers,
)

CHUNK: Final = 512
"""Candidates worked on at a time: what is known of their hidden units stays in the cache."""
ZERO, HALF, ONE, SCALE = np.float32(0), np.float32(0.5), np.float32(1), np.float32(1 / 32)
VERY_LOW: Final = np.float32(-1e30)
"""Exponent of who is no rival."""
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
    forth = fours, widened, mix_by_fours, bell, normal_cdf, write_units, write_chunk
    back = write_powers, write_chances, pull_of_target, add_dots_by_fours, pull_of_chunk
    return machine_code(exact_rows, *forth, *back, add_pulled)


@cache
def ordering() -> Callable[..., None] | None:
    """Return :func:`write_in_order` as machine code, or None where Numba is missing."""
    return machine_code(write_in_order)


def write_in_order(scores: Any, rows: Any, columns: Any, out: Any) -> None:
    """Write some rows (R,) of scores (Q, K, N), their columns in another order (N,), to ``out``,
    (R, K, N).

    Each is copied first, from left to right, as memory is quickest: picked from there, its columns
    would be waited for one by one.
    """
    near = np.empty(len(columns), np.float32)
    for row in range(len(rows)):
        for k in range(out.shape[1]):
            given, ordered = scores[rows[row], k], out[row, k]
            for i in range(len(columns)):
                near[i] = given[i]
            for i in range(len(columns)):
                ordered[i] = near[columns[i]]


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


def write_units(x: Any, start: int, taps: Any, edge: Any, bias: Any, units: Any, n: int) -> None:
    """Write the hidden units of some candidates, before GELU, into the first columns of ``units``.

    ``x`` is (K, N), ``taps`` (T, H, K'), ``edge`` (T, H), ``bias`` (H,) and ``units`` (H, ...); H
    and K' are multiples of four. The ``n`` candidates are those from ``start`` on.
    """
    n_gallery, n_taps = x.shape[1], len(edge)
    for h in range(len(bias)):
        constant = bias[h]
        for j in range(n_taps):
            constant += edge[j, h]
        units[h, :n] = constant
    for j in range(n_taps):
        first = start + j - n_taps // 2
        low, high = max(0, -first), min(n, n_gallery - first)
        for h in range(len(bias)):  # beyond the gallery there is nothing, and no bias
            for i in range(low):
                units[h, i] -= edge[j, h]
            for i in range(high, n):
                units[h, i] -= edge[j, h]
        mix_by_fours(taps[j], x, first + low, units, low, high)


def write_chunk(
    x: Any,
    start: int,
    taps: Any,
    edge: Any,
    bias: Any,
    out: Any,
    linear: Any,
    active: Any,
    slopes: Any,
    logits: Any,
) -> None:
    """Write the logits of some candidates, and GELU of their hidden units with what it changes by.

    Parameters
    ----------
    x : ndarray of shape (K, N), float32
        Scores of one example; the candidates are those from ``start`` on.
    taps, edge, bias, out, linear : ndarray
        As for :func:`exact_rows`, in multiples of four.
    active, slopes : ndarray of shape (H, CHUNK), float32
        Written, as far as there are candidates.
    logits : ndarray of shape (n,), float32
        Written.
    """
    n = len(logits)
    logits[:] = ZERO
    for k in range(len(linear)):
        weight, values = linear[k], x[k, start : start + n]
        for i in range(n):
            logits[i] += weight * values[i]
    write_units(x, start, taps, edge, bias, active, n)
    for h in range(len(out)):
        units, slope, weight = active[h, :n], slopes[h, :n], out[h]
        for i in range(n):
            z = units[i]
            e = bell(z)
            below = normal_cdf(z, e)
            units[i] = z * below
            logits[i] += weight * units[i]
            slope[i] = below + z * DENSITY * e


def write_chances(logits: Any, gone: Any, peak: Any, chances: Any, scales: Any) -> float:
    """Write exp(logit - peak) of who is a rival, 0 of others; return their sum.

    ``scales``, as many int32, are room to work in.
    """
    total = ZERO
    for i in range(len(logits)):
        chances[i] = VERY_LOW if gone[i] else logits[i] - peak
    write_powers(chances, chances, scales)
    for i in range(len(logits)):
        total += chances[i]
    return float(total)


def pull_of_target(
    x: Any, place: int, at: int, share: Any, out: Any, active: Any, slopes: Any, gradient: Any
) -> None:
    """Take from the gradient what the target pulls; in its chunk it stands at ``at``."""
    by_taps, by_edge, by_bias, by_out, by_linear = gradient
    (n_models, n_gallery), n_taps = x.shape, len(by_edge)
    for k in range(n_models):
        by_linear[k] -= share * x[k, place]
    for h in range(len(out)):
        pull = share * out[h] * slopes[h, at]
        by_out[h] -= share * active[h, at]
        by_bias[h] -= pull
        for j in range(n_taps):
            beside = place + j - n_taps // 2
            if 0 <= beside < n_gallery:
                by_edge[j, h] -= pull
                for k in range(n_models):
                    by_taps[j, h, k] -= pull * x[k, beside]


def pull_of_chunk(x: Any, start: int, chances: Any, active: Any, slopes: Any, pulled: Any) -> None:
    """Add what candidates pull with their chance, but for the weight that a unit has in the score.

    ``pulled`` has shapes (T, H, K'), (T, H), (H,), (H,) and (K,), where H and K' are multiples of
    four. Slopes are overwritten.
    """
    by_taps, by_edge, by_bias, by_out, by_linear = pulled
    n, n_gallery, (n_taps, n_hidden) = len(chances), x.shape[1], by_edge.shape
    for k in range(len(by_linear)):
        values, part = x[k, start : start + n], ZERO
        for i in range(n):
            part += chances[i] * values[i]
        by_linear[k] += part
    for h in range(n_hidden):
        units, slope, part_out, part_bias = active[h, :n], slopes[h, :n], ZERO, ZERO
        for i in range(n):
            part_out += chances[i] * units[i]
            slope[i] *= chances[i]
            part_bias += slope[i]
        by_out[h] += part_out
        by_bias[h] += part_bias
        for j in range(n_taps):
            first = start + j - n_taps // 2
            low, high = max(0, -first), min(n, n_gallery - first)
            inside = part_bias
            for i in range(low):
                inside -= slope[i]
            for i in range(high, n):
                inside -= slope[i]
            by_edge[j, h] += inside
    for j in range(n_taps):
        first = start + j - n_taps // 2
        low, high = max(0, -first), min(n, n_gallery - first)
        add_dots_by_fours(slopes, low, high, x, first + low, by_taps[j])


def add_pulled(factor: Any, out: Any, pulled: Any, gradient: Any) -> None:
    """Add what the candidates of one example have pulled together to the gradient."""
    by_taps, by_edge, by_bias, by_out, by_linear = gradient
    taps, edge, bias, active, linear = pulled
    for k in range(len(linear)):
        by_linear[k] += factor * linear[k]
    for h in range(by_edge.shape[1]):
        weight = factor * out[h]
        by_out[h] += factor * active[h]
        by_bias[h] += weight * bias[h]
        for j in range(len(edge)):
            by_edge[j, h] += weight * edge[j, h]
            for k in range(len(linear)):
                by_taps[j, h, k] += weight * taps[j, h, k]


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
    One pass, chunk by chunk, as softmax is summed up online (Milakov and Gimelshein, 2018): what a
    candidate adds to the gradient is weighed by its chance, relative to the highest logit so far;
    when a higher one comes, what was added up is scaled down. The target's own part, which is no
    chance, is written at once.
    """
    n_rows, n_models, n_gallery = x.shape
    n_taps, n_hidden = edge.shape
    high, wide = fours(n_hidden), fours(n_models)
    chance, score = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    active, slopes = np.empty((high, CHUNK), np.float32), np.empty((high, CHUNK), np.float32)
    scales = np.empty(CHUNK, np.int32)
    gradient = grad_taps, grad_edge, grad_bias, grad_out, grad_linear
    # Hidden units and models beyond the network's own weigh nothing.
    own_taps = np.zeros((n_taps, high, wide), np.float32)
    own_edge = widened(edge, n_taps, high)
    own_bias = widened(bias.reshape(1, n_hidden), 1, high)[0]
    own_out = widened(out.reshape(1, n_hidden), 1, high)[0]
    for j in range(n_taps):
        for h in range(n_hidden):
            for k in range(n_models):
                own_taps[j, h, k] = taps[j, h, k]
    weights = own_taps, own_edge, own_bias, own_out, linear
    n_cells = high * n_taps
    sums = np.empty(n_cells * (wide + 1) + 2 * high + n_models, np.float32)
    tapped, rest = sums[: n_cells * wide], sums[n_cells * wide :]
    pulled = (
        tapped.reshape(n_taps, high, wide),
        rest[:n_cells].reshape(n_taps, high),
        rest[n_cells : n_cells + high],
        rest[n_cells + high : n_cells + 2 * high],
        rest[n_cells + 2 * high :],
    )
    for row in range(n_rows):
        peak: Any = np.float32(-np.inf)
        own: Any = ZERO
        total: Any = 0.0
        sums[:] = ZERO
        of_target = share[row] / tau
        for start in range(0, n_gallery, CHUNK):
            n = min(CHUNK, n_gallery - start)
            logits, gone = score[:n], removed[row, start : start + n]
            write_chunk(x[row], start, *weights, active, slopes, logits)
            best = np.float32(-np.inf)
            for i in range(n):
                logits[i] = logits[i] / tau
                if not gone[i]:
                    best = max(best, logits[i])
            at = target[row] - start
            if 0 <= at < n:
                own = logits[at]
                pull_of_target(x[row], target[row], at, of_target, out, active, slopes, gradient)
            if best == -np.inf:
                continue  # nobody here is a rival
            if best > peak:
                shrink = np.float32(math.exp(peak - best))
                total *= shrink
                sums *= shrink
                peak = best
            total += write_chances(logits, gone, peak, chance[:n], scales[:n])
            pull_of_chunk(x[row], start, chance[:n], active, slopes, pulled)
        losses[row] += share[row] * (peak + math.log(total) - own)
        add_pulled(np.float32(of_target / total), out, pulled, gradient)
