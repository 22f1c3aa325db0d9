"""InfoNCE of linear scores with its gradient and Hessian, as a loop for Numba to compile.

Plain Python that any machine can run, slowly; the same numbers from NumPy: ``linear.py``. One
example at a time is worked on in the innermost cache. No number in here is infinite or NaN: who is
no rival weighs ``NO_RIVAL``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from dafm_core.ground.machine_code import machine_code
from dafm_core.ground.product_loops import ZERO, add_dots_by_fours, fours, mix, write_powers

NO_RIVAL: Final = np.float32(-1e30)
"""Logarithm of how many candidates one stands for that takes no part."""
LANES: Final = 16
"""Room for an example's candidates is a multiple of these."""


@cache
def linear_loop() -> Callable[..., float] | None:
    """Return the loop as machine code, or None where Numba is missing or turned off."""
    return machine_code(add_infonce, fours, mix, write_powers, add_dots_by_fours)


def add_infonce(
    channels: Any,
    target: Any,
    offset: Any,
    share: Any,
    which: Any,
    weights: Any,
    gradient: Any,
    hessian: Any,
) -> float:
    """Return the weighted loss of some examples, and add what it changes with.

    Parameters
    ----------
    channels : ndarray of shape (E, C, W), float32
    target : ndarray of shape (E,), int64
    offset : ndarray of shape (E, W), float32
        What is added to the logits; ``NO_RIVAL`` for who takes no part.
    share : ndarray of shape (E,), float32
        Weights of the examples.
    which : ndarray of shape (D,), int64
        The channels that are used.
    weights : ndarray of shape (D,), float32
        Of those.
    gradient, hessian : ndarray of shape (D,) and (D, D), float64
        Added to.
    """
    n_used, width = len(which), channels.shape[2]
    deep, wide = fours(n_used), -(-width // LANES) * LANES
    # What lies beyond the channels and candidates that there are is zero, and stays so.
    own, spread = np.zeros((deep, wide), np.float32), np.zeros((deep, deep), np.float32)
    padded, logits = np.zeros(deep, np.float32), np.zeros(wide, np.float32)
    chance, scales = np.zeros(wide, np.float32), np.zeros(wide, np.int32)
    for c in range(n_used):
        padded[c] = weights[c]
    loss = 0.0
    for e in range(len(channels)):
        if share[e] == ZERO:
            continue
        for c in range(n_used):
            source, to = channels[e, which[c]], own[c]
            for w in range(width):
                to[w] = source[w]
        mix(own, 0, padded, logits)
        right, beside, peak, total = logits[target[e]], offset[e], NO_RIVAL, ZERO
        for w in range(width):
            logits[w] += beside[w]
            peak = max(peak, logits[w])
        for w in range(width):
            logits[w] -= peak
        write_powers(logits[:width], chance[:width], scales[:width])
        for w in range(width):
            total += chance[w]
        loss += np.float64(share[e]) * (np.float64(peak) + math.log(total) - np.float64(right))
        for w in range(width):
            chance[w] /= total
            logits[w] = math.sqrt(chance[w] * share[e])
        for c in range(n_used):
            to, mean = own[c], ZERO
            for w in range(width):
                mean += to[w] * chance[w]
            gradient[c] += share[e] * (mean - to[target[e]])
            for w in range(width):
                to[w] = (to[w] - mean) * logits[w]
        for c in range(0, deep, 4):  # what is on one side of the diagonal is on the other
            add_dots_by_fours(own[c : c + 4], 0, wide, own[c:], 0, spread[c : c + 4, c:])
    for c in range(n_used):
        for d in range(c, n_used):
            hessian[c, d] += spread[c, d]
            if d > c:
                hessian[d, c] += spread[c, d]
    return loss
