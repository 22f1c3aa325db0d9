"""The linear fusion: one weight per channel, the convex heart of LightFusion.

It minimises InfoNCE by Newton's method, so it has no learning rate and no seed; solving it again
for fewer providers takes a tenth of a second, which is how a fusion does without one. What it
starts from, and how far labels may move it, stands in ``prior.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.light.linear_loops import NO_RIVAL, linear_loop
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
ENOUGH: Final = 2048
"""Examples, spread evenly over four times as many or more, by which what need not be exact is
found: where to begin, how sharp the prior is, and how firmly it holds.
"""
MANY: Final = 8192
"""Examples from which on machine code is worth that sums come in another order."""


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
    """Weights (C,), the mean loss with what the prior adds, its Hessian (C, C), and the prior's
    part of that, (C, C).
    """

    weights: Vector
    loss: float
    hessian: Matrix
    pull: Matrix


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
    whole, some = _blocks(examples), some_blocks(examples)
    if math.isinf(strength):
        loss, _, hessian = _infonce(examples, terms, prior.mean, whole, used)
        return Fit(prior.mean, loss, hessian, pull=hessian)  # no label moves it
    pull = strength * prior.pull / max(1, len(examples))

    def objective(weights: Vector, blocks: Sequence[slice]) -> tuple[float, Vector, Matrix]:
        loss, gradient, hessian = _infonce(examples, terms, weights, blocks, used)
        away = weights - prior.mean
        return loss + float(away @ pull @ away) / 2, gradient + pull @ away, hessian + pull

    begin = (prior.mean if start is None else start).astype(np.float64)
    if len(some) < len(whole):
        begin, *_ = _descend(lambda weights: objective(weights, some), begin)
    return Fit(*_descend(lambda weights: objective(weights, whole), begin), pull)


def _descend(
    objective: Callable[[Vector], tuple[float, Vector, Matrix]], weights: Vector
) -> tuple[Vector, float, Matrix]:
    """Return what minimises a loss of which gradient and Hessian are known, by Newton's method:
    weights, loss and Hessian.
    """
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
    return weights, loss, hessian


def scaled(
    examples: Examples, loss_weights: LossWeights, weights: Vector, *, used: Used = None
) -> Vector:
    """Return the multiple of some weights that fits best: their sharpness, not their direction."""
    blocks = some_blocks(examples)
    scores = [weights.astype(np.float32) @ channels_of(examples, block, used) for block in blocks]
    rows = np.concatenate([np.arange(len(examples))[block] for block in blocks])
    one = replace(
        examples.without_channels().take(rows),
        layout=Layout(("rows",), ("all",)),
        channels=np.concatenate(scores)[:, None],
    )
    terms, blocks = _terms(one, loss_weights), _blocks(one)
    start = _lowest(SCALES, lambda scale: _infonce(one, terms, np.array([scale]), blocks)[0])
    one_like_it = Prior.alike(np.ones(1))
    factor = fit_linear(
        one, loss_weights, prior=one_like_it, strength=N_SCALE, start=np.array([start])
    ).weights[0]
    return weights * max(float(factor), 1e-3)


def _lowest(values: Sequence[float], loss: Callable[[float], float]) -> float:
    """Return at which of some ascending values a convex loss is lowest, going down from the middle.

    Examples
    --------
    >>> _lowest([1.0, 2.0, 3.0, 4.0, 5.0], lambda x: (x - 1.8) ** 2)
    2.0
    """
    place = len(values) // 2
    here = loss(values[place])
    for step in (1, -1):
        while 0 <= place + step < len(values) and (there := loss(values[place + step])) < here:
            place, here = place + step, there
    return values[place]


def curvature(
    examples: Examples, loss_weights: LossWeights, weights: Vector, *, used: Used = None
) -> Matrix:
    """Return the Hessian of the mean loss, (C, C): what moving weights changes, label or not."""
    terms = _terms(examples, loss_weights)
    return _infonce(examples, terms, weights, some_blocks(examples), used)[2]


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
    blocks: Sequence[slice],
    used: Used = None,
) -> tuple[float, Vector, Matrix]:
    """Return the mean loss of some examples, its gradient and its Hessian."""
    loop = linear_loop() if len(examples) >= MANY else None
    if loop is not None:
        return _infonce_by(loop, examples, terms, weights, blocks, used)
    loss, n, n_channels = 0.0, 0, len(weights)
    gradient, hessian = np.zeros(n_channels), np.zeros((n_channels, n_channels))
    for block in blocks:
        channels, target = channels_of(examples, block, used), examples.target[block]
        n += len(target)
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
    n = max(1, n)
    return loss / n, gradient / n, hessian / n


def _infonce_by(
    loop: Callable[..., float],
    examples: Examples,
    terms: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
    weights: Vector,
    blocks: Sequence[slice],
    used: Used,
) -> tuple[float, Vector, Matrix]:
    """Do by machine code what :func:`_infonce` does by NumPy."""
    loss, n, n_channels = 0.0, 0, len(weights)
    gradient, hessian = np.zeros(n_channels), np.zeros((n_channels, n_channels))
    which = np.arange(n_channels) if used is None else np.flatnonzero(used)
    for block in blocks:
        channels, target = np.asarray(examples.channels[block]), examples.target[block]
        n += len(target)
        for share, offset in terms:
            beside = np.fmax(offset[block], NO_RIVAL)
            slopes = weights.astype(np.float32), gradient, hessian
            loss += loop(channels, target, beside, share[block], which, *slopes)
    n = max(1, n)
    return loss / n, gradient / n, hessian / n


def _blocks(examples: Examples) -> list[slice]:
    """Return all examples, some at a time."""
    return [slice(start, start + BLOCK) for start in range(0, max(1, len(examples)), BLOCK)]


def some_blocks(examples: Examples) -> list[slice]:
    """Return about ``ENOUGH`` examples, spread over all; all, where they are not many more."""
    every = len(examples) // ENOUGH
    return _blocks(examples)[:: every if every >= 4 else 1]


def channels_of(examples: Examples, block: slice, used: Used) -> NDArray[np.float32]:
    """Return the used channels of some examples."""
    channels = examples.channels[block]
    return channels if used is None else channels[:, used]
