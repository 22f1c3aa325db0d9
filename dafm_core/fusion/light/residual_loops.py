"""Loss and gradients of a residual network on a linear fusion, as loops for Numba to compile.

Plain Python that any machine can run, slowly; the same numbers from torch: ``training.py``. Some
examples at a time lie side by side, as many as fill a few hundred places, and go through the
network and back: their channels and hidden units stay in the cache, and four units by four channels
are worked on at a time, which are read once for sixteen products. Rows are filled up with zeros to
whole numbers of such fours. No number in here is infinite or NaN: who is no rival weighs
``NO_RIVAL``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from dafm_core.ground.machine_code import machine_code

NO_RIVAL: Final = np.float32(-1e30)
"""Logarithm of how many candidates one stands for that takes no part."""
ZERO: Final = np.float32(0)
PLACES: Final = 256
"""Candidates that lie side by side, at most, where an example has fewer."""
LANES: Final = 8
"""Places of an example are a multiple of these."""


@cache
def residual_loop() -> Callable[..., float] | None:
    """Return :func:`residual_infonce` as machine code, or None where Numba is missing or off."""
    parts = lay_out, mix, mix_by_fours, add_active, add_softmax, change_units, add_dots_by_fours
    return machine_code(residual_infonce, *parts)


def lay_out(own: Any, n_models: int, gone: int, first: int, out: Any) -> None:
    """Write the channels of one example (C, W) to ``out`` from a place on, those of a lost model as
    zeros; models vary fastest, and ``gone`` is below 0 where none is lost.
    """
    for c in range(len(own)):
        source, target = own[c], out[c, first : first + own.shape[1]]
        if gone >= 0 and c % n_models == gone:
            target[:] = ZERO
        else:
            for w in range(len(source)):
                target[w] = source[w]


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


def mix_by_fours(weights: Any, own: Any, out: Any) -> None:
    """Add ``weights`` (H, C) times ``own`` (C, W) to ``out`` (H, W); H, C multiples of four."""
    for h in range(0, len(out), 4):
        one, two, three, four = out[h], out[h + 1], out[h + 2], out[h + 3]
        for j in range(0, len(own), 4):
            first, second, third, last = own[j], own[j + 1], own[j + 2], own[j + 3]
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


def add_dots_by_fours(units: Any, own: Any, out: Any) -> None:
    """Add ``units`` (H, W) times the transpose of ``own`` (C, W) to ``out`` (H, C), both H and C
    multiples of four.
    """
    for h in range(0, len(units), 4):
        one, two, three, four = units[h], units[h + 1], units[h + 2], units[h + 3]
        for j in range(0, len(own), 4):
            first, second, third, last = own[j], own[j + 1], own[j + 2], own[j + 3]
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


def add_active(units: Any, score: Any, logits: Any) -> None:
    """Add what units (H, W) above zero are worth to ``logits`` (W,); H a multiple of four."""
    for h in range(0, len(units), 4):
        one, two, three, four = units[h], units[h + 1], units[h + 2], units[h + 3]
        a, b, c, d = score[h], score[h + 1], score[h + 2], score[h + 3]
        for w in range(len(logits)):
            logits[w] += (a * max(one[w], ZERO) + b * max(two[w], ZERO)) + (
                c * max(three[w], ZERO) + d * max(four[w], ZERO)
            )


def add_softmax(logits: Any, log_weight: Any, share: Any, powers: Any, slope: Any) -> float:
    """Add ``share`` of the softmax to ``slope``; return the logarithm of its partition sum.

    Parameters
    ----------
    logits, log_weight : ndarray of shape (W,), float32
    powers : ndarray of shape (W,), float32
        Room to work in.
    slope : ndarray of shape (W,), float32
        Added to.
    """
    peak, total = NO_RIVAL, ZERO
    for w in range(len(logits)):
        powers[w] = logits[w] + log_weight[w]
        peak = max(peak, powers[w])
    for w in range(len(logits)):
        powers[w] = math.exp(powers[w] - peak)
        total += powers[w]
    part = share / total
    for w in range(len(logits)):
        slope[w] += part * powers[w]
    return float(peak + math.log(total))


def change_units(slope: Any, factor: Any, units: Any) -> tuple[Any, Any]:
    """Write what the loss changes with by a hidden unit of each candidate, in its place.

    Returns
    -------
    of_score, of_bias : float32
        What it changes with by the unit's weight, and by its bias.
    """
    of_score, of_bias = ZERO, ZERO
    for w in range(len(units)):
        is_on = units[w] > ZERO
        of_score += slope[w] * max(units[w], ZERO)
        units[w] = factor * slope[w] if is_on else ZERO
        of_bias += units[w]
    return of_score, of_bias


def residual_infonce(
    channels: Any,
    context: Any,
    target: Any,
    log_weight: Any,
    log_member: Any,
    has_subset: Any,
    weight: Any,
    rows: Any,
    lost: Any,
    n_models: int,
    linear: Any,
    loss_weights: Any,
    tau: float,
    evidence: Any,
    bias: Any,
    query: Any,
    score: Any,
    slopes: tuple[Any, Any, Any, Any],
    slope_of_tau: Any,
) -> float:
    """Return the loss of some examples, and write what it changes with.

    Parameters
    ----------
    channels : ndarray of shape (E, C, W), float32
        Models vary fastest among the C.
    context : ndarray of shape (E, D), float32
        Models vary fastest, likewise.
    target : ndarray of shape (E,), int64
    log_weight, log_member : ndarray of shape (E, W), float32
        Of the rivals in the gallery and, 0, in the query's subset; ``NO_RIVAL`` of others.
    has_subset : ndarray of shape (E,), bool
    weight : ndarray of shape (E,), float32
    rows, lost : ndarray of shape (B,), int64
        The examples, and which model each does without: 0 for none, 1 for the first.
    n_models : int
    linear : ndarray of shape (S, C), float32
        Weights of the linear fusion, by what is lost.
    loss_weights : ndarray of shape (2,), float32
        Of the gallery's loss and the subset's.
    tau : float
        Temperature.
    evidence, bias, query, score : ndarray of shape (H, C), (H,), (H, D), (H,), float32
        Of the network.
    slopes : tuple of ndarray
        Written: derivatives by those four.
    slope_of_tau : ndarray of shape (1,), float32
        Written.
    """
    (n_hidden, n_channels), (n_context, width) = evidence.shape, (query.shape[1], channels.shape[2])
    by_evidence, by_bias, by_query, by_score = slopes
    step = -(-width // LANES) * LANES
    n_beside = max(1, PLACES // step)
    hidden, own = -(-n_hidden // 4) * 4, -(-n_channels // 4) * 4
    # Rows beyond the network's own are zero, and stay so.
    weights, worth = np.zeros((hidden, own), np.float32), np.zeros(hidden, np.float32)
    base = np.zeros((len(linear), own), np.float32)
    of_query, of_evidence = np.zeros((n_context, hidden), np.float32), np.zeros_like(weights)
    by_context, shift = np.zeros_like(of_query), np.zeros((n_beside, hidden), np.float32)
    weights[:n_hidden, :n_channels], worth[:n_hidden] = evidence, score
    base[:, :n_channels] = linear
    for d in range(n_context):
        for h in range(n_hidden):
            of_query[d, h] = query[h, d]
    places, units = (
        np.zeros((own, n_beside * step), np.float32),
        np.zeros((hidden, n_beside * step), np.float32),
    )
    logits, slope = np.zeros(n_beside * step, np.float32), np.zeros(n_beside * step, np.float32)
    powers = np.empty(width, np.float32)
    by_bias[:], by_score[:] = ZERO, ZERO
    n_with_subset = 0
    for b in range(len(rows)):
        n_with_subset += has_subset[rows[b]]
    loss, by_tau, rate = 0.0, ZERO, np.float32(1 / tau)
    for start in range(0, len(rows), n_beside):
        n = min(n_beside, len(rows) - start)
        for e in range(n):
            r, gone = rows[start + e], lost[start + e] - 1
            first, last = e * step, (e + 1) * step
            lay_out(channels[r], n_models, gone, first, places)
            mix(places, first, base[gone + 1], logits[first:last])
            shift[e, :n_hidden] = bias
            for d in range(n_context):
                if gone < 0 or d % n_models != gone:
                    about, by = context[r, d], of_query[d]
                    for h in range(hidden):
                        shift[e, h] += about * by[h]
            for h in range(hidden):
                units[h, first:last] = shift[e, h]
        mix_by_fours(weights, places, units)
        add_active(units, worth, logits)
        slope[:] = ZERO
        for e in range(n):
            r, right, first = rows[start + e], target[rows[start + e]], e * step
            own_logits, own_slope = logits[first : first + width], slope[first : first + width]
            for w in range(width):
                own_logits[w] *= rate
            if loss_weights[0] > 0:
                share = loss_weights[0] * weight[r] / np.float32(len(rows))
                partition = add_softmax(own_logits, log_weight[r], share, powers, own_slope)
                own_slope[right] -= share
                loss += share * (partition - own_logits[right])
            if loss_weights[1] > 0 and has_subset[r]:
                share = loss_weights[1] * weight[r] / np.float32(n_with_subset)
                partition = add_softmax(own_logits, log_member[r], share, powers, own_slope)
                own_slope[right] -= share
                loss += share * (partition - own_logits[right])
            for w in range(width):
                by_tau -= own_slope[w] * own_logits[w] * rate
                own_slope[w] *= rate
        for e in range(n_beside):  # what is left of earlier examples pulls at nothing
            first, last = e * step, (e + 1) * step
            for h in range(n_hidden):
                of_score, of_bias = change_units(slope[first:last], worth[h], units[h, first:last])
                by_score[h] += of_score
                by_bias[h] += of_bias
                shift[e, h] = of_bias
            if e >= n:
                continue
            r, gone = rows[start + e], lost[start + e] - 1
            for d in range(n_context):
                if gone < 0 or d % n_models != gone:
                    about, by = context[r, d], by_context[d]
                    for h in range(hidden):
                        by[h] += about * shift[e, h]
        for h in range(n_hidden, hidden):
            units[h] = ZERO
        add_dots_by_fours(units, places, of_evidence)
    by_evidence[:] = of_evidence[:n_hidden, :n_channels]
    for d in range(n_context):
        for h in range(n_hidden):
            by_query[h, d] = by_context[d, h]
    slope_of_tau[0] = by_tau
    return loss
