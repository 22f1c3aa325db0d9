"""Trained networks as plain arrays, and their mean score by NumPy: what inference needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Scores

if TYPE_CHECKING:
    from dafm_core.fusion.light.network import ResidualFusion

BLOCK_CELLS: Final = 1 << 9
"""Candidates scored at a time: their hidden units stay in the cache."""


def to_arrays(networks: Sequence[ResidualFusion]) -> dict[str, NDArray[Any]]:
    """Return the parameters of S networks, stacked over their hidden units; nothing for none.

    Returns
    -------
    dict of str to ndarray
        ``network.evidence`` (S H, C), ``network.bias`` (S H,), ``network.query`` (S H, D) and
        ``network.score`` (S H,), the last divided by S: their mean is one network.
    """
    if not networks:
        return {}
    states = [network.state_dict() for network in networks]

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([state[name].numpy() for state in states])

    return {
        "network.evidence": joined("evidence.weight"),
        "network.bias": joined("evidence.bias"),
        "network.query": joined("query"),
        "network.score": joined("score") / np.float32(len(networks)),
    }


def mean_score(
    arrays: Mapping[str, NDArray[Any]], channels: NDArray[np.float32], context: NDArray[np.float32]
) -> Scores:
    """Return the networks' mean score, (B, C, N), (B, D) -> (B, N)."""
    evidence, score = arrays["network.evidence"], arrays["network.score"]
    shift = context @ arrays["network.query"].T + arrays["network.bias"]  # (B, D) -> (B, S H)
    mean = np.empty((len(channels), channels.shape[2]), np.float32)
    for row in range(len(channels)):
        for block in _blocks(channels.shape[2]):
            hidden = evidence @ channels[row, :, block]  # (S H, C) @ (C, n)
            hidden += shift[row, :, None]
            np.maximum(hidden, 0, out=hidden)
            mean[row, block] = score @ hidden
    return mean


def _blocks(n_candidates: int) -> Iterator[slice]:
    for start in range(0, n_candidates, BLOCK_CELLS):
        yield slice(start, start + BLOCK_CELLS)
