"""Loss and gradients of a residual network on a linear fusion, as loops for Numba to compile.

Plain Python that any machine can run, slowly; the same numbers from torch: ``training.py``. One
example after the other goes through the network and back, so that its channels and hidden units
stay in the cache. No number in here is infinite or NaN: who is no rival weighs ``NO_RIVAL``.
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


@cache
def residual_loop() -> Callable[..., float] | None:
    """Return :func:`residual_infonce` as machine code, or None where Numba is missing or off."""
    return machine_code(residual_infonce, mix, add_dots, add_softmax, find_there, change_units)


def mix(own: Any, used: Any, weights: Any, out: Any) -> None:
    """Add a weighted sum of the used rows of ``own`` (C, W) to ``out`` (W,)."""
    whole = len(used) - len(used) % 4
    for j in range(0, whole, 4):  # four at a time: what is added to is read once
        first, second, third, last = used[j], used[j + 1], used[j + 2], used[j + 3]
        a, b, c, d = weights[first], weights[second], weights[third], weights[last]
        for w in range(len(out)):
            out[w] += (a * own[first, w] + b * own[second, w]) + (
                c * own[third, w] + d * own[last, w]
            )
    for j in range(whole, len(used)):
        one, a = used[j], weights[used[j]]
        for w in range(len(out)):
            out[w] += a * own[one, w]


def add_dots(values: Any, own: Any, used: Any, out: Any) -> None:
    """Add the products of ``values`` (W,) with the used rows of ``own`` (C, W) to ``out`` (C,)."""
    whole = len(used) - len(used) % 4
    for j in range(0, whole, 4):
        first, second, third, last = used[j], used[j + 1], used[j + 2], used[j + 3]
        a, b, c, d = ZERO, ZERO, ZERO, ZERO
        for w in range(len(values)):
            a += values[w] * own[first, w]
            b += values[w] * own[second, w]
            c += values[w] * own[third, w]
            d += values[w] * own[last, w]
        out[first] += a
        out[second] += b
        out[third] += c
        out[last] += d
    for j in range(whole, len(used)):
        a = ZERO
        for w in range(len(values)):
            a += values[w] * own[used[j], w]
        out[used[j]] += a


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


def find_there(n: int, n_models: int, gone: int, places: Any) -> int:
    """Write which of n numbers are of a model that is there, and return how many; models vary
    fastest, and ``gone`` is below 0 where none is lost.
    """
    n_there = 0
    for c in range(n):
        if gone < 0 or c % n_models != gone:
            places[n_there] = c
            n_there += 1
    return n_there


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
    hidden = np.empty((n_hidden, width), np.float32)
    logits, powers = np.empty(width, np.float32), np.empty(width, np.float32)
    slope = np.empty(width, np.float32)
    used, known = np.empty(n_channels, np.int64), np.empty(n_context, np.int64)
    by_evidence[:], by_bias[:], by_query[:], by_score[:] = ZERO, ZERO, ZERO, ZERO
    n_with_subset = 0
    for b in range(len(rows)):
        n_with_subset += has_subset[rows[b]]
    loss, by_tau, rate = 0.0, ZERO, np.float32(1 / tau)
    for b in range(len(rows)):
        r, gone = rows[b], lost[b] - 1
        own, right = channels[r], target[r]
        there = used[: find_there(n_channels, n_models, gone, used)]
        about = known[: find_there(n_context, n_models, gone, known)]
        logits[:] = ZERO
        mix(own, there, linear[lost[b]], logits)
        for h in range(n_hidden):
            units, shift, factor = hidden[h], bias[h], score[h]
            for d in about:
                shift += query[h, d] * context[r, d]
            units[:] = shift
            mix(own, there, evidence[h], units)
            for w in range(width):
                logits[w] += factor * max(units[w], ZERO)
        for w in range(width):
            logits[w] *= rate
            slope[w] = ZERO
        if loss_weights[0] > 0:
            share = loss_weights[0] * weight[r] / np.float32(len(rows))
            partition = add_softmax(logits, log_weight[r], share, powers, slope)
            slope[right] -= share
            loss += share * (partition - logits[right])
        if loss_weights[1] > 0 and has_subset[r]:
            share = loss_weights[1] * weight[r] / np.float32(n_with_subset)
            partition = add_softmax(logits, log_member[r], share, powers, slope)
            slope[right] -= share
            loss += share * (partition - logits[right])
        for w in range(width):
            by_tau -= slope[w] * logits[w] * rate
            slope[w] *= rate
        for h in range(n_hidden):
            of_score, of_bias = change_units(slope, score[h], hidden[h])
            by_score[h] += of_score
            by_bias[h] += of_bias
            for d in about:
                by_query[h, d] += of_bias * context[r, d]
            add_dots(hidden[h], own, there, by_evidence[h])
    slope_of_tau[0] = by_tau
    return loss
