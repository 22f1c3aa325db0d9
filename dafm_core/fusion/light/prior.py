"""What labels start from, how firmly it is held, and how far they may move it. NumPy only.

Labels start from the label-free fusion. What each provider is worth moves easily, what its views
are worth beside each other firmly. Both are measured by what they change in the loss, so that
channels of whatever unit or spread are held alike.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.examples import Examples
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.shared import shared_weights, weights_of_each
from dafm_core.fusion.light.linear import (
    Matrix,
    Prior,
    Used,
    Vector,
    curvature,
    fit_linear,
    scaled,
)
from dafm_core.fusion.light.options import LossWeights

FIRMNESS: Final = 8.0
"""How many times firmer than a provider's worth everything else is held."""
RIDGE: Final = 1e-2
"""Holds weights that change nothing in the loss."""
STRENGTHS: Final = tuple(float(20 << n) for n in range(7, -1, -1))
"""Examples that a prior may count for, the strongest first."""
MAX_CHOOSING: Final = 480
"""Examples by which the strength is chosen: with more it matters little."""


class Belief(NamedTuple):
    """What labels say of the prior: how probable it is that it should be moved at all, in [0, 1],
    and how many examples it counts for if so.
    """

    moved: float
    strength: float

    def between(self, prior: Prior, fitted: Vector) -> Vector:
        """Return the mean of the weights that are believed in, (C,)."""
        return prior.mean + self.moved * (fitted - prior.mean)


def prior_of(
    examples: Examples, loss_weights: LossWeights, layout: Layout, *, used: Used = None
) -> Prior:
    """Return the weights of the label-free fusion, scaled to the examples, and what holds them.

    Its mean ranks as :class:`~dafm_core.fusion.debiased.DebiasedFusion` does.

    Parameters
    ----------
    layout : Layout
        Of the channels that are used.
    """
    start = shared_weights(layout, examples.head)
    mean = scaled(examples, loss_weights, start, used=used)
    bend = curvature(examples, loss_weights, mean, used=used)
    return Prior(mean, pull_of(bend, weights_of_each(layout, examples.head)))


def pull_of(bend: Matrix, easily: NDArray[np.float64]) -> Matrix:
    """Return what pulls weights back, (C, C): the loss's own curvature, as if of one more example.

    Parameters
    ----------
    bend : ndarray of shape (C, C), float64
        Hessian of the mean loss where labels start from.
    easily : ndarray of shape (C, D), float64
        Directions in which weights move easily: the pull is ``FIRMNESS`` times that of an example,
        and that of an example along these.

    References
    ----------
    A prior worth so many examples, in units of what an example tells: Zellner, On assessing prior
    distributions and Bayesian regression analysis with g-prior distributions, 1986.
    """
    bend = bend + RIDGE * np.eye(len(bend))
    along = bend @ easily
    eased = along @ np.linalg.solve(easily.T @ along, along.T)
    return FIRMNESS * bend - (FIRMNESS - 1) * eased


def believe(examples: Examples, loss_weights: LossWeights, *, seed: int) -> Belief:
    """Return what labels say of the prior; nothing is held out.

    A strength is as probable as it makes the labels: what they gain by moving weights, less the
    room in which weights may move. It is even odds beforehand that nothing is to be learned, and
    any strength is as good as another. So a few labels stay near the label-free fusion, the nearer
    the less they speak for leaving it, and many choose as if there were no such doubt.

    References
    ----------
    The evidence for a strength in Laplace's approximation: MacKay, Bayesian interpolation, Neural
    Computation 4, 1992. Even odds for nothing: Mitchell and Beauchamp, Bayesian variable selection
    in linear regression, JASA 83, 1988.
    """
    some = examples.take(_whole_groups(examples, MAX_CHOOSING, seed=seed))
    prior, n = prior_of(some, loss_weights, some.layout), len(some)
    unmoved = fit_linear(some, loss_weights, prior=prior, strength=math.inf)
    weights, evidence = prior.mean, []
    for strength in STRENGTHS:  # each begins where the last ended
        fit = fit_linear(some, loss_weights, prior=prior, strength=strength, start=weights)
        weights = fit.weights
        before, after = (np.linalg.slogdet(m)[1] for m in (strength * prior.pull, n * fit.hessian))
        evidence.append(n * (unmoved.loss - fit.loss) - (after - before) / 2)
    best = max(evidence)
    odds = np.exp(np.array(evidence) - best)
    against = math.exp(-best) * len(STRENGTHS)
    return Belief(
        moved=float(odds.sum() / (odds.sum() + against)),
        strength=float(np.exp(odds @ np.log(STRENGTHS) / odds.sum())),
    )


def _whole_groups(examples: Examples, n_examples: int, *, seed: int) -> NDArray[np.int64]:
    """Return the rows of so many examples, group by group in random order."""
    names, group = np.unique(examples.groups, return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(names))
    return np.argsort(place[group], kind="stable")[:n_examples]
