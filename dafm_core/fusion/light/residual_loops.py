"""Loss and gradients of a residual network on a linear fusion, as loops for Numba to compile.

Plain Python that any machine can run, slowly; the same numbers from torch: ``training.py``. Some
examples at a time lie side by side, as many as fill a few hundred places, and go through the
network and back: their channels and hidden units stay in the cache. No number in here is infinite
or NaN: who is no rival weighs ``NO_RIVAL``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from dafm_core.ground.machine_code import machine_code
from dafm_core.ground.product_loops import (
    ZERO,
    add_dots_by_fours,
    fours,
    mix,
    mix_by_fours,
    widened,
)

NO_RIVAL: Final = np.float32(-1e30)
"""Logarithm of how many candidates one stands for that takes no part."""
PLACES: Final = 256
"""Candidates that lie side by side, at most, where an example has fewer."""
LANES: Final = 8
"""Places of an example are a multiple of these."""


class ResidualLoops(NamedTuple):
    """:func:`residual_infonce` and :func:`residual_scores`."""

    infonce: Callable[..., float]
    scores: Callable[..., None]


@cache
def residual_loops() -> ResidualLoops | None:
    """Return the loops as machine code, or None where Numba is missing or turned off."""
    forth = widened, fours, n_side_by_side, lay_out, mix, mix_by_fours, add_active, look
    infonce = machine_code(residual_infonce, *forth, add_softmax, change_units, add_dots_by_fours)
    scores = machine_code(residual_scores, *forth)
    return ResidualLoops(infonce, scores) if infonce and scores else None


def n_side_by_side(width: int) -> tuple[int, int]:
    """Return how many examples lie side by side, and how many places each of them has."""
    step = -(-width // LANES) * LANES
    return max(1, PLACES // step), step


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


def look(
    channels: Any,
    context: Any,
    rows: Any,
    lost: Any,
    n_models: int,
    network: tuple[Any, Any, Any, Any, Any],
    step: int,
    places: Any,
    units: Any,
    logits: Any,
) -> None:
    """Write channels, hidden units before they are cut off at zero, and scores of a few examples.

    Parameters
    ----------
    channels, context, rows, lost, n_models
        As for :func:`residual_infonce`.
    network : tuple of ndarray of shape (S, C), (H, C), (H,), (D, H), (H,)
        Weights of the linear fusion, and of the network; H and C multiples of four.
    step : int
        Places of each example.
    places, units, logits : ndarray of shape (C, n * step), (H, n * step), (n * step,)
        Written, as far as there are examples.
    """
    base, evidence, bias, query, score = network
    shift = np.empty(len(bias), np.float32)
    for e in range(len(rows)):
        r, gone, first, last = rows[e], lost[e] - 1, e * step, (e + 1) * step
        lay_out(channels[r], n_models, gone, first, places)
        mix(places, first, base[gone + 1], logits[first:last])
        for h in range(len(shift)):
            shift[h] = bias[h]
        for d in range(len(query)):
            if gone < 0 or d % n_models != gone:
                about, by = context[r, d], query[d]
                for h in range(len(shift)):
                    shift[h] += about * by[h]
        for h in range(len(shift)):
            units[h, first:last] = shift[h]
    mix_by_fours(evidence, places, 0, units, 0, len(logits))
    add_active(units, score, logits)


def residual_scores(
    channels: Any,
    context: Any,
    rows: Any,
    linear: Any,
    evidence: Any,
    bias: Any,
    query: Any,
    score: Any,
    out: Any,
) -> None:
    """Write the scores of some examples, of whom none lost a model, to ``out`` (B, W).

    ``linear`` is (1, C); the others as for :func:`residual_infonce`.
    """
    width, wide, deep = channels.shape[2], fours(evidence.shape[1]), fours(len(score))
    n_beside, step = n_side_by_side(width)
    network = (
        widened(linear, 1, wide),
        widened(evidence, deep, wide),
        widened(bias.reshape(1, -1), 1, deep)[0],
        widened(query.T, query.shape[1], deep),
        widened(score.reshape(1, -1), 1, deep)[0],
    )
    places = np.zeros((wide, n_beside * step), np.float32)
    units = np.zeros((deep, n_beside * step), np.float32)
    logits, lost = np.zeros(n_beside * step, np.float32), np.zeros(n_beside, np.int64)
    for start in range(0, len(rows), n_beside):
        some = rows[start : start + n_beside]
        look(
            *(channels, context, some, lost, 1, network, step),
            *(places, units, logits),
        )
        for e in range(len(some)):
            out[start + e] = logits[e * step : e * step + width]


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
    """Return the loss of some examples, and add up what it changes with.

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
        Derivatives by those four are added to them.
    slope_of_tau : ndarray of shape (1,), float32
        Written.
    """
    n_hidden, (n_context, width) = len(score), (query.shape[1], channels.shape[2])
    by_evidence, by_bias, by_query, by_score = slopes
    n_beside, step = n_side_by_side(width)
    wide, deep = fours(evidence.shape[1]), fours(n_hidden)
    # Rows and columns beyond the network's own are zero, and stay so.
    network = (
        widened(linear, len(linear), wide),
        widened(evidence, deep, wide),
        widened(bias.reshape(1, -1), 1, deep)[0],
        widened(query.T, n_context, deep),
        widened(score.reshape(1, -1), 1, deep)[0],
    )
    of_evidence, of_query = (
        np.zeros((deep, wide), np.float32),
        np.zeros((n_context, deep), np.float32),
    )
    of_units = np.zeros(deep, np.float32)
    places = np.zeros((wide, n_beside * step), np.float32)
    units = np.zeros((deep, n_beside * step), np.float32)
    logits, slope = np.zeros(n_beside * step, np.float32), np.zeros(n_beside * step, np.float32)
    powers = np.empty(width, np.float32)
    n_with_subset = 0
    for b in range(len(rows)):
        n_with_subset += has_subset[rows[b]]
    loss, by_tau, rate = 0.0, ZERO, np.float32(1 / tau)
    for start in range(0, len(rows), n_beside):
        n = min(n_beside, len(rows) - start)
        look(
            *(channels, context, rows[start : start + n], lost[start : start + n], n_models),
            *(network, step, places, units, logits),
        )
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
                of_score, of_bias = change_units(slope[first:last], score[h], units[h, first:last])
                by_score[h] += of_score
                by_bias[h] += of_bias
                of_units[h] = of_bias
            if e >= n:
                continue
            r, gone = rows[start + e], lost[start + e] - 1
            for d in range(n_context):
                if gone < 0 or d % n_models != gone:
                    about, by = context[r, d], of_query[d]
                    for h in range(deep):
                        by[h] += about * of_units[h]
        for h in range(n_hidden, deep):
            units[h] = ZERO
        add_dots_by_fours(units, 0, len(slope), places, 0, of_evidence)
    for h in range(n_hidden):
        for c in range(evidence.shape[1]):
            by_evidence[h, c] += of_evidence[h, c]
        for d in range(n_context):
            by_query[h, d] += of_query[d, h]
    slope_of_tau[0] = by_tau
    return loss
