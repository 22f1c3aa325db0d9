"""What LambdaRank pulls candidates by, of queries with one target each.

LightGBM's own objective looks at every pair of candidates of which one is among the first hundred,
and skips those with the same label: with one target nearly all of them. Here only pairs with the
target are looked at, those that are left, and the numbers are the same to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.ordering import descending_keys

if TYPE_CHECKING:
    import lightgbm

N_FIRST: Final = 100
"""A pair counts where one of the two is ranked among these (``lambdarank_truncation_level``)."""
BLOCK_CELLS: Final = 1 << 16
"""Candidates worked on at a time, so that they stay in the cache."""
SOFTENING: Final = 0.01
"""Added to the distance of two scores, by which LightGBM divides what the pair is worth."""
PLACE: Final = np.uint64((1 << 32) - 1)
"""Bits of a key that hold where a candidate stands."""


class OneTarget:
    """LambdaRank as LightGBM asks for it: from raw scores to gradients and curvatures.

    Parameters
    ----------
    drawn : ndarray of shape (E, W), bool
        Candidates of each query; the scores are those of these, query by query.
    target : ndarray of shape (E,), int64
        Which of them is right.

    References
    ----------
    Burges, From RankNet to LambdaRank to LambdaMART, MSR-TR-2010-82, section 6.
    """

    def __init__(self, drawn: NDArray[np.bool_], target: NDArray[np.int64]) -> None:
        self._drawn, self._target = drawn, target
        self._discounts = 1 / np.log2(2 + np.arange(drawn.shape[1]))

    def __call__(
        self, scores: NDArray[np.float64], data: lightgbm.Dataset
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return by how much each score changes the loss, and how that changes."""
        every = np.full(self._drawn.shape, -np.inf)
        every[self._drawn] = scores
        gradients, curvatures = (np.empty(every.shape, np.float32) for _ in range(2))
        for block in self._blocks():
            gradients[block], curvatures[block] = self._pulls(every[block], block)
        return gradients[self._drawn], curvatures[self._drawn]

    def _blocks(self) -> Iterator[slice]:
        size = max(1, BLOCK_CELLS // self._drawn.shape[1])
        for start in range(0, len(self._drawn), size):
            yield slice(start, start + size)

    def _pulls(
        self, scores: NDArray[np.float64], block: slice
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        drawn, target = self._drawn[block], self._target[block][:, None]
        place = _places(scores)
        own, own_place = (np.take_along_axis(of, target, axis=1) for of in (scores, place))
        lead = own - np.where(drawn, scores, own)
        worth = np.abs(self._discounts[own_place] - self._discounts[place])
        varies = (lead != lead[:, :1]).any(axis=1, keepdims=True)
        worth /= np.where(varies, SOFTENING + np.abs(lead), 1)
        worth[~drawn | (np.minimum(place, own_place) >= N_FIRST)] = 0
        np.put_along_axis(worth, target, 0, axis=1)  # the target is no pair with itself
        with np.errstate(over="ignore"):  # a target that far ahead pulls at nothing
            doubt = 1 / (1 + np.exp(lead))
        gradient = doubt * worth
        curvature = gradient * (1 - doubt)
        total = 2 * gradient.sum(axis=1, keepdims=True)
        factor = np.divide(np.log2(1 + total), total, out=np.ones_like(total), where=total > 0)
        gradient *= factor
        curvature *= factor
        np.put_along_axis(gradient, target, -gradient.sum(axis=1, keepdims=True), axis=1)
        np.put_along_axis(curvature, target, curvature.sum(axis=1, keepdims=True), axis=1)
        return gradient, curvature


def _places(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return each score's place in its row, the highest first, (E, W); of ties by column."""
    columns = np.arange(scores.shape[1], dtype=np.uint64)
    keys = descending_keys(scores.astype(np.float32)) | columns
    keys.sort(axis=1)
    order = (keys & PLACE).astype(np.int64)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(scores.shape[1])[None], axis=1)
    return place
