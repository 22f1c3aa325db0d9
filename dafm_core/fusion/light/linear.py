"""The linear fusion: one weight per channel, the convex heart of LightFusion. NumPy only.

It minimises InfoNCE by Newton's method, so it has no learning rate and no seed; solving it again
for fewer providers takes a tenth of a second, which is how a fusion does without one. What it
starts from, and how far labels may move it, stands in ``prior.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.light.options import LossWeights

Vector: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]
Used: TypeAlias = NDArray[np.bool_] | None

SCALES: Final = tuple(float(scale) for scale in 2.0 ** np.arange(-6, 7))
"""Where to begin looking for it: far from it the loss is nearly straight, and steps overshoot."""
N_SCALE: Final = 0.1
"""Examples that the prior's own scale counts for."""
N_STEPS: Final = 30
TOLERANCE: Final = 1e-6
"""Decrease of the loss, in nats a query, that is not worth another step."""
BLOCK: Final = 256
"""Examples whose products are held at a time."""


class Prior(NamedTuple):
    """What a handful of examples leaves in place, (C,), and what pulls back to it, (C, C).

    The pull is that of one example that the prior counts for: half of ``away @ pull @ away`` is
    what so many weights away from the mean cost, in nats.
    """

    mean: Vector
    pull: Matrix

    @classmethod
    def alike(cls, mean: Vector) -> Prior:
        """Return a prior that holds every weight alike."""
        return cls(mean, np.eye(len(mean)))


class Fit(NamedTuple):
    """Weights (C,), the mean loss with what the prior adds, and its Hessian (C, C)."""

    weights: Vector
    loss: float
    hessian: Matrix


def fit_linear(
    examples: Examples,
    loss_weights: LossWeights,
    *,
    prior: Prior,
    strength: float,
    start: Vector | None = None,
    used: Used = None,
) -> Fit:
    """Return what minimises the mean of InfoNCE plus what the prior adds.

    Parameters
    ----------
    prior : Prior
    strength : float
        Examples that it counts for; endlessly many leave its mean.
    start : ndarray of shape (n_channels,), optional
        Where to begin; the prior by default. It decides how long it takes, not what is found.
    used : ndarray of bool, optional
        Channels that the weights are of; all by default.
    """
    terms = _terms(examples, loss_weights)
    if math.isinf(strength):
        loss, _, hessian = _infonce(examples, terms, prior.mean, used)
        return Fit(prior.mean, loss, hessian)
    pull = strength * prior.pull / max(1, len(examples))

    def objective(weights: Vector) -> tuple[float, Vector, Matrix]:
        loss, gradient, hessian = _infonce(examples, terms, weights, used)
        away = weights - prior.mean
        return loss + float(away @ pull @ away) / 2, gradient + pull @ away, hessian + pull

    weights = (prior.mean if start is None else start).astype(np.float64)
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
    return Fit(weights, loss, hessian)


def scaled(
    examples: Examples, loss_weights: LossWeights, weights: Vector, *, used: Used = None
) -> Vector:
    """Return the multiple of some weights that fits best: their sharpness, not their direction."""
    scores = [
        weights.astype(np.float32) @ _channels(examples, block, used) for block in _blocks(examples)
    ]
    one = replace(
        examples,
        layout=Layout(("rows",), ("all",)),
        channels=np.concatenate(scores)[:, None],
    )
    terms = _terms(one, loss_weights)
    start = min(SCALES, key=lambda scale: _infonce(one, terms, np.array([scale]))[0])
    one_like_it = Prior.alike(np.ones(1))
    factor = fit_linear(
        one, loss_weights, prior=one_like_it, strength=N_SCALE, start=np.array([start])
    ).weights[0]
    return weights * max(float(factor), 1e-3)


def curvature(
    examples: Examples, loss_weights: LossWeights, weights: Vector, *, used: Used = None
) -> Matrix:
    """Return the Hessian of the mean loss, (C, C): what moving weights changes, label or not."""
    return _infonce(examples, _terms(examples, loss_weights), weights, used)[2]


def _terms(
    examples: Examples, loss_weights: LossWeights
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return the parts of the loss: a weight for each example, and what is added to its logits."""
    subset = np.where(examples.in_subset, 0, -np.inf).astype(np.float32)
    with_subset: NDArray[np.bool_] = np.any(examples.in_subset, axis=1)
    terms = [
        (loss_weights.gallery * examples.weight, examples.log_weight),
        (
            loss_weights.subset * examples.weight * with_subset,
            np.where(with_subset[:, None], subset, 0),
        ),
    ]
    return [term for term in terms if term[0].any()]


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
    used: Used = None,
) -> tuple[float, Vector, Matrix]:
    """Return the mean loss, its gradient and its Hessian."""
    loss, n_channels = 0.0, len(weights)
    gradient, hessian = np.zeros(n_channels), np.zeros((n_channels, n_channels))
    for block in _blocks(examples):
        channels, target = _channels(examples, block, used), examples.target[block]
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


def _blocks(examples: Examples) -> Iterator[slice]:
    """Yield all examples, some at a time."""
    for start in range(0, max(1, len(examples)), BLOCK):
        yield slice(start, start + BLOCK)


def _channels(examples: Examples, block: slice, used: Used) -> NDArray[np.float32]:
    """Return the used channels of some examples."""
    channels = examples.channels[block]
    return channels if used is None else channels[:, used]
