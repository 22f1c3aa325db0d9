"""How far models like the same candidates, seen without a label.

Who agrees with no other is an outsider. ``debiased.py`` leaves outsiders out, and what a few labels
start from (``shared.py``) passes them over.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.options import LEAST_AGREEMENT
from dafm_core.fusion.channels.view import ChannelReader
from dafm_core.store.stack import SimilarityStack

N_BEST: Final = 10
"""Best candidates of the others that a model is asked about; a twentieth of a small gallery."""

N_ASKED: Final = 128
"""Queries by which outsiders are found."""


def find_outsiders(
    stack: SimilarityStack, bank: QueryBank | None, *, least: float = LEAST_AGREEMENT
) -> tuple[str, ...]:
    """Return the names of a stack's outsiders, found by some of its queries; no target is used.

    Parameters
    ----------
    bank : QueryBank or None
        Makes the evidence; plain scores without one.
    least : float, default=0.3
        See :func:`apart`; 0 finds nobody.
    """
    if not least or stack.n_providers < 3:  # of two that differ, either may be right
        return ()
    asked = stack.take_queries(stack.query_ids[:: -(-stack.n_queries // N_ASKED)])
    reader = ChannelReader.of(stack.gallery, Layout(("restandardized",), stack.names), bank)
    liked = [agreement(reader.read(tile).evidence) for _, tile in asked.tiles()]
    found = apart(np.concatenate(liked), least)
    return tuple(name for name, is_apart in zip(stack.names, found, strict=True) if is_apart)


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


def apart(liked: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
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
    >>> apart(np.array([[2.0, 1.5, 0.1], [2.2, 1.7, -0.1], [1.8, 1.9, 0.0]]), 0.3).tolist()
    [False, False, True]
    """
    known = [column[np.isfinite(column)] for column in liked.T]
    means = np.array([of_one.mean() if len(of_one) > 1 else np.nan for of_one in known])
    if np.count_nonzero(np.isfinite(means)) < 3:  # two of them are all that there is to agree with
        return np.zeros(len(known), bool)
    errors = np.array(
        [of_one.std(ddof=1) / np.sqrt(len(of_one)) if len(of_one) > 1 else 0 for of_one in known]
    )
    yardstick = np.sort(means[np.isfinite(means)])[-2]
    below: NDArray[np.bool_] = means + 2 * errors < least * yardstick  # never where a mean is NaN
    return below
