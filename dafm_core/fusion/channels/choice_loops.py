"""Which candidates some model puts first, as a loop for Numba; the same in ``candidates.py``."""

from __future__ import annotations

from typing import Any

import numpy as np


def choose(evidence: Any, bars: Any, n_first: int, n_level: Any, mask: Any, chosen: Any) -> int:
    """Write the candidates, ascending, that reach any model's bar; return how many they are.

    Parameters
    ----------
    evidence : ndarray of shape (K, N), float32
    bars : ndarray of shape (K,), float32
        The evidence of each model's ``n_first``-th candidate.
    n_level : ndarray of shape (K,), int32
        Written: how many are level with each bar.
    mask : ndarray of shape (N,), uint8
        Room to work in.
    chosen : ndarray of shape (N + 1,), int32
        Written.
    """
    n_models, n_gallery = evidence.shape
    for i in range(n_gallery):
        mask[i] = 0
    for k in range(n_models):
        bar, own, level, above = bars[k], evidence[k], np.int32(0), np.int32(0)
        for i in range(n_gallery):
            level += np.int32(own[i] == bar)
            above += np.int32(own[i] > bar)
        n_level[k] = level
        if above + level > 2 * n_first:  # those level with so many say nothing for themselves
            for i in range(n_gallery):
                mask[i] |= np.uint8(own[i] > bar)
        else:
            for i in range(n_gallery):
                mask[i] |= np.uint8(own[i] >= bar)
    width = 0
    for i in range(n_gallery):
        chosen[width] = i
        width += mask[i]
    return width
