"""The linear fusion: one weight per channel, the convex heart of LightFusion. NumPy only.

It minimises InfoNCE by Newton's method, so it has no learning rate and no seed; solving it again
for fewer providers takes a tenth of a second, which is how a fusion does without one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.light.options import LossWeights

Vector = NDArray[np.float64]

N_PRIOR: Final = 40.0
"""Examples that the prior counts for: with fewer it holds its own, thousands do not feel it."""
N_STEPS: Final = 30
TOLERANCE: Final = 1e-6
"""Decrease of the loss, in nats a query, that is not worth another step."""
BLOCK: Final = 256
"""Examples whose products are held at a time."""


def fit_linear(examples: Examples, loss_weights: LossWeights, *, prior: Vector) -> Vector:
    """Return the weights that minimise InfoNCE plus ``N_PRIOR |w - prior|^2 / (2 E)``.

    Parameters
    ----------
    prior : ndarray of shape (n_channels,)
        What a handful of examples leaves in place.
    """
    ridge = N_PRIOR * np.eye(len(prior)) / max(1, len(examples))
    subset = np.where(examples.in_subset, 0, -np.inf).astype(np.float32)
    with_subset: NDArray[np.bool_] = np.any(examples.in_subset, axis=1)
    terms = [
        (loss_weights.gallery * examples.weight, examples.log_weight),
        (
            loss_weights.subset * examples.weight * with_subset,
            np.where(with_subset[:, None], subset, 0),
        ),
    ]
    used = [term for term in terms if term[0].any()]

    def objective(weights: Vector) -> tuple[float, Vector, NDArray[np.float64]]:
        loss, gradient, hessian = _infonce(examples, used, weights)
        away = weights - prior
        return loss + float(away @ ridge @ away) / 2, gradient + ridge @ away, hessian + ridge

    weights = prior.astype(np.float64)
    loss, gradient, hessian = objective(weights)
    for _ in range(N_STEPS):
        step = np.linalg.solve(hessian, gradient)
        if gradient @ step < TOLERANCE:
            break
        for shrink in 0.5 ** np.arange(8):
            proposed = objective(weights - shrink * step)
            if proposed[0] < loss:
                break
        else:
            break  # no step lowers the loss
        weights, (loss, gradient, hessian) = weights - shrink * step, proposed
    return weights


def provider_sets(n_providers: int) -> NDArray[np.bool_]:
    """Return all providers, then all but each, then each alone, (1 + K + K, K)."""
    if n_providers == 1:
        return np.full((1, 1), True)
    one = np.eye(n_providers, dtype=bool)
    return np.concatenate([np.full((1, n_providers), True), ~one, one])


def smallest_holding(sets: NDArray[np.bool_], present: NDArray[np.bool_]) -> int:
    """Return which set has the fewest providers among those that hold all that are present.

    Examples
    --------
    Of all three providers, all but each, and each alone: the first two are held by the set that
    lacks the third.

    >>> sets = provider_sets(3)
    >>> sets[smallest_holding(sets, np.array([True, True, False]))].tolist()
    [True, True, False]
    """
    holds = (sets | ~present).all(axis=1)
    return int(np.where(holds, sets.sum(axis=1), sets.shape[1] + 1).argmin())


def _infonce(
    examples: Examples,
    terms: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
    weights: Vector,
) -> tuple[float, Vector, NDArray[np.float64]]:
    """Return the mean loss, its gradient and its Hessian."""
    loss, n_channels = 0.0, len(weights)
    gradient, hessian = np.zeros(n_channels), np.zeros((n_channels, n_channels))
    for start in range(0, len(examples), BLOCK):
        block = slice(start, start + BLOCK)
        channels, target = examples.channels[block], examples.target[block]
        scores = weights.astype(np.float32) @ channels  # (E, C, W) -> (E, W)
        own = scores[np.arange(len(target)), target]
        at_target = channels[np.arange(len(target)), :, target]  # (E, C)
        for share, offset in terms:
            logits = scores + offset[block]
            peak = logits.max(axis=1, keepdims=True)
            chance = np.exp(logits - peak)
            total = chance.sum(axis=1, keepdims=True)
            chance /= total
            mean = (channels @ chance[:, :, None])[:, :, 0]  # (E, C)
            weighted = share[block, None]
            loss += float(weighted[:, 0] @ (peak[:, 0] + np.log(total[:, 0]) - own))
            gradient += ((mean - at_target) * weighted).sum(axis=0, dtype=np.float64)
            spread = (channels * (chance * weighted)[:, None]) @ channels.transpose(0, 2, 1)
            hessian += spread.sum(axis=0, dtype=np.float64) - (mean * weighted).T @ mean
    n = max(1, len(examples))
    return loss / n, gradient / n, hessian / n
