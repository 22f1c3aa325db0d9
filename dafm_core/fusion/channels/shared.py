"""What a channel family is worth whoever's scores it is made of: one weight, the same for all.

Alone these weights are the label-free fusion (``debiased.py``); with a few labels they are what
LightFusion starts from. Where they come from, and what they reach on data that had no part in
choosing them, stands in docs/how-to/fuse-without-labels.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.families import EVIDENCE, NEIGHBOUR_FAMILIES, SHARED
from dafm_core.fusion.channels.layout import Layout
from dafm_core.metrics.families import Head


def of_head(weights: Mapping[str, float], head: Head) -> dict[str, float]:
    """Return the weights by family that rank one thing.

    Among the few members of a subset a candidate's neighbours say nothing: they are look-alikes of
    all of them. So that family ranks galleries only, unless there is no other.
    """
    if head == "gallery":
        return dict(weights)
    kept = {name: 0.0 if name in NEIGHBOUR_FAMILIES else w for name, w in weights.items()}
    return kept if any(kept.values()) else dict(weights)


def shared_weights(layout: Layout, head: Head) -> NDArray[np.float64]:
    """Return the weights that labels start from, by channel, (C,): those of the label-free fusion.

    It is a mean over the providers that count. Of inputs that have no shared weight it is the mean
    of the evidence.
    """
    counted = layout.counted(np.ones(len(layout.providers), bool))
    mean: NDArray[np.float64] = weights_of_each(layout, head)[:, counted].mean(axis=1)
    return mean


def weights_of_each(layout: Layout, head: Head) -> NDArray[np.float64]:
    """Return the shared weights of each provider alone, (C, K)."""
    shared = of_head(SHARED, head)
    by_family = [shared.get(name, 0.0) for name in layout.families]
    if not any(by_family):
        evidence = next((name for name in EVIDENCE if name in layout.families), layout.families[0])
        by_family = [float(name == evidence) for name in layout.families]
    return np.kron(np.array(by_family)[:, None], np.eye(len(layout.providers)))


def over_providers(by_family: Sequence[float], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return weights by family as weights by channel, (C,): a mean over the providers that count.

    Examples
    --------
    >>> over_providers([1.0, 3.0], np.array([True, False, True])).tolist()
    [0.5, 0.0, 0.5, 1.5, 0.0, 1.5]
    """
    weights: NDArray[np.float64] = np.outer(by_family, counted).ravel() / counted.sum()
    return weights
