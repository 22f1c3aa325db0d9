"""How far models like the same candidates, seen without a label.

What follows from it for a fusion is the fusion's: ``debiased.py`` leaves out a model that agrees
with no other.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

N_BEST: Final = 10
"""Best candidates of the others that a model is asked about; a twentieth of a small gallery."""


def agreement(evidence: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what each provider scores the candidates that the others like best, by query.

    A provider is asked about the best candidates by the sum of the other providers' scores. Noise
    scores them like any other, near 0; models that find the same things score them one to several
    standard deviations above their mean. It cannot tell being right together from being wrong
    together.

    Parameters
    ----------
    evidence : ndarray of shape (B, K, N), float32
        Row-standardised scores; -inf where excluded, NaN where unknown.

    Returns
    -------
    ndarray of shape (B, K), float64
        In standard deviations of the provider's own row. NaN for a row with unknown scores: the
        few candidates that it knows are good already, and being level among them says nothing.

    Examples
    --------
    Two providers that say the same, and one that says nothing of it:

    >>> same, other = [0, 0, 0, 2], [1, -1, 1, -1]
    >>> agreement(np.array([[same, same, other]], np.float32)).tolist()
    [[2.0, 2.0, -1.0]]
    """
    n_queries, n_providers, n_gallery = evidence.shape
    n_best = min(N_BEST, -(-n_gallery // 20))
    total = np.where(np.isfinite(evidence), evidence, 0).sum(axis=1)  # (B, N)
    liked = np.empty((n_queries, n_providers))
    for provider in range(n_providers):
        own = evidence[:, provider]
        others = np.where(np.isfinite(own), total - own, -np.inf)
        best = np.argpartition(others, n_gallery - n_best, axis=1)[:, n_gallery - n_best :]
        liked[:, provider] = np.take_along_axis(own, best, axis=1).mean(axis=1, dtype=np.float64)
        liked[np.isnan(own).any(axis=1), provider] = np.nan
    return liked


def outsiders(liked: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    """Return which providers clearly agree less than the others do among themselves, (K,).

    The yardstick is the second highest mean agreement, because it takes two to agree: what is low
    depends on the models, whose errors may or may not be alike, and on the gallery. A provider is
    below it by two standard errors of its mean, or it is no outsider.

    Parameters
    ----------
    liked : ndarray of shape (B, K), float64
        What :func:`agreement` returned. What is not finite counts for nothing.
    least : float
        The share of the yardstick that a provider must reach.

    Examples
    --------
    >>> outsiders(np.array([[2.0, 1.5, 0.1], [2.2, 1.7, -0.1], [1.8, 1.9, 0.0]]), 0.3).tolist()
    [False, False, True]
    """
    known = [column[np.isfinite(column)] for column in liked.T]
    means = np.array([of_one.mean() if len(of_one) > 1 else np.nan for of_one in known])
    if np.count_nonzero(np.isfinite(means)) < 3:  # of two that differ, either may be right
        return np.zeros(len(known), bool)
    errors = np.array(
        [of_one.std(ddof=1) / np.sqrt(len(of_one)) if len(of_one) > 1 else 0 for of_one in known]
    )
    yardstick = np.sort(means[np.isfinite(means)])[-2]
    below: NDArray[np.bool_] = means + 2 * errors < least * yardstick  # never where a mean is NaN
    return below
