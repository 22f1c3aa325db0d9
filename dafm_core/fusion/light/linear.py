"""The linear fusion: one weight per channel, the convex heart of LightFusion. NumPy only.

It minimises InfoNCE by Newton's method, so it has no learning rate and no seed; solving it again
for fewer providers takes a tenth of a second, which is how a fusion does without one. A handful of
labels moves it from the weights that all providers share by a fixed share; a few hundred choose it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.light.options import LossWeights
from dafm_core.ground.groups import deal_groups

Vector: TypeAlias = NDArray[np.float64]
Used: TypeAlias = NDArray[np.bool_] | None

STRENGTHS: Final = (10.0, 40.0, 160.0, 640.0, 2560.0)
"""Examples that a prior may count for: with fewer it holds its own, thousands do not feel it."""
DEFAULT_STRENGTH: Final = 160.0
"""Where there is too little to choose by."""
MIN_CHOOSING: Final = 200
"""With fewer examples what is chosen ranks worse than the default: it follows the sample's loss."""
N_FOLDS: Final = 4
MAX_CHOOSING: Final = 480
"""Examples on which the strength is chosen: with more it matters little."""
SCALES: Final = tuple(float(scale) for scale in 2.0 ** np.arange(-6, 7))
"""Where to begin looking for it: far from it the loss is nearly straight, and steps overshoot."""
N_SCALE: Final = 0.1
"""Examples that the prior's own scale counts for."""
N_STEPS: Final = 30
TOLERANCE: Final = 1e-6
"""Decrease of the loss, in nats a query, that is not worth another step."""
BLOCK: Final = 256
"""Examples whose products are held at a time."""


def fit_linear(
    examples: Examples,
    loss_weights: LossWeights,
    *,
    prior: Vector,
    strength: float,
    start: Vector | None = None,
    used: Used = None,
) -> Vector:
    """Return the weights that minimise InfoNCE plus ``strength |w - prior|^2 / (2 E)``.

    Parameters
    ----------
    prior : ndarray of shape (n_channels,)
        What a handful of examples leaves in place.
    strength : float
        Examples that it counts for.
    start : ndarray of shape (n_channels,), optional
        Where to begin; the prior by default. It decides how long it takes, not what is found.
    used : ndarray of bool, optional
        Channels that the weights are of; all by default.
    """
    ridge = strength * np.eye(len(prior)) / max(1, len(examples))
    terms = _terms(examples, loss_weights)

    def objective(weights: Vector) -> tuple[float, Vector, NDArray[np.float64]]:
        loss, gradient, hessian = _infonce(examples, terms, weights, used)
        away = weights - prior
        return loss + float(away @ ridge @ away) / 2, gradient + ridge @ away, hessian + ridge

    weights = (prior if start is None else start).astype(np.float64)
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
    factor = fit_linear(
        one, loss_weights, prior=np.ones(1), strength=N_SCALE, start=np.array([start])
    )[0]
    return weights * max(float(factor), 1e-3)


def choose_strength(
    examples: Examples, loss_weights: LossWeights, prior: Vector, *, seed: int
) -> float:
    """Return how many examples the prior should count for, by what is lost on groups held out.

    Of strengths that are as good, the stronger: it generalises to what nobody has measured. With
    few examples, or groups, it is ``DEFAULT_STRENGTH``.
    """
    if len(examples) < MIN_CHOOSING:
        return DEFAULT_STRENGTH
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.unique(examples.groups))
    place = dict(zip(groups.tolist(), range(len(groups)), strict=True))
    order = np.argsort([place[group] for group in examples.groups.tolist()], kind="stable")
    some = examples.take(order[:MAX_CHOOSING])
    fold = deal_groups(some.groups, N_FOLDS, seed=seed)
    if len(np.unique(fold)) < N_FOLDS:
        return DEFAULT_STRENGTH
    lost = dict.fromkeys(STRENGTHS, 0.0)
    for f in range(N_FOLDS):
        fit, held_out = (some.take(np.flatnonzero(rows)) for rows in (fold != f, fold == f))
        terms = _terms(held_out, loss_weights)
        own = scaled(fit, loss_weights, prior)
        weights = own
        for strength in sorted(STRENGTHS, reverse=True):  # each begins where the last ended
            weights = fit_linear(fit, loss_weights, prior=own, strength=strength, start=weights)
            lost[strength] += len(held_out) * _infonce(held_out, terms, weights)[0]
    return min(STRENGTHS, key=lambda strength: (lost[strength], -strength))


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
) -> tuple[float, Vector, NDArray[np.float64]]:
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
