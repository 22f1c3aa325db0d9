"""What a channel family is worth whoever's scores it is made of: one weight, the same for all.

Alone these weights are the label-free fusion (``debiased.py``); with a few labels they are what
LightFusion starts from. Where they come from, and what they reach on data that had no part in
choosing them, stands in docs/how-to/fuse-without-labels.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.families import EVIDENCE, NEIGHBOUR_FAMILIES, SHARED
from dafm_core.fusion.channels.layout import Layout
from dafm_core.metrics.families import Head

EVIDENCE_SHARE: Final[Mapping[Head, float]] = MappingProxyType({"gallery": 4.0, "subset": 0.5})
"""Weight of the evidence in what labels start from, beside the shared weights."""
FEW_LABELS_SHARE: Final[Mapping[Head, float]] = MappingProxyType({"gallery": 2.0, "subset": 0.0})
"""The same where there are too few labels to move it: it costs rank 1 where they do not."""


def of_head(weights: Mapping[str, float], head: Head) -> dict[str, float]:
    """Return the weights by family that rank one thing.

    Among the few members of a subset a candidate's neighbours say nothing: they are look-alikes of
    all of them. So that family ranks galleries only, unless there is no other.
    """
    if head == "gallery":
        return dict(weights)
    kept = {name: 0.0 if name in NEIGHBOUR_FAMILIES else w for name, w in weights.items()}
    return kept if any(kept.values()) else dict(weights)


def shared_weights(layout: Layout, head: Head, *, few_labels: bool = False) -> NDArray[np.float64]:
    """Return the weights that labels start from, by channel, (C,): a mean over who counts.

    The evidence itself is among them. It adds little to its own ranks, but labels move the two
    apart: where a provider is worth more or less than the others, it shows in the evidence.
    """
    by_family = of_head(SHARED, head)
    evidence = next((name for name in EVIDENCE if name in layout.families), layout.families[0])
    share = FEW_LABELS_SHARE if few_labels else EVIDENCE_SHARE
    by_family[evidence] = by_family.get(evidence, 0.0) + share[head]
    weights = [by_family.get(name, 0.0) for name in layout.families]
    return over_providers(weights, layout.counted(np.ones(len(layout.providers), bool)))


def over_providers(by_family: Sequence[float], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return weights by family as weights by channel, (C,): a mean over the providers that count.

    Examples
    --------
    >>> over_providers([1.0, 3.0], np.array([True, False, True])).tolist()
    [0.5, 0.0, 0.5, 1.5, 0.0, 1.5]
    """
    weights: NDArray[np.float64] = np.outer(by_family, counted).ravel() / counted.sum()
    return weights
