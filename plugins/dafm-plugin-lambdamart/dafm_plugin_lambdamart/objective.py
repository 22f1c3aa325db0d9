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
        self._shape, self._target = drawn.shape, target
        self._drawn = np.flatnonzero(drawn)
        self._leaves_out = len(self._drawn) < drawn.size
        self._n_left_out = drawn.shape[1] - np.count_nonzero(drawn, axis=1)
        self._discounts = 1 / np.log2(2 + np.arange(drawn.shape[1]))

    def __call__(
        self, scores: NDArray[np.float64], data: lightgbm.Dataset
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return by how much each score changes the loss, and how that changes."""
        pulls = np.empty((2, *self._shape), np.float32)
        every = scores
        if self._leaves_out:
            every = np.full(pulls[0].size, -np.inf)
            every[self._drawn] = scores
        every = every.reshape(self._shape)
        for block in self._blocks():
            pulls[:, block] = self._pulls(every[block], block)
        gradients, curvatures = pulls.reshape(2, -1)
        if self._leaves_out:
            return gradients[self._drawn], curvatures[self._drawn]
        return gradients, curvatures

    def _blocks(self) -> Iterator[slice]:
        n_queries, width = self._shape
        size = max(1, BLOCK_CELLS // width)
        for start in range(0, n_queries, size):
            yield slice(start, start + size)

    def _pulls(
        self, scores: NDArray[np.float64], block: slice
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what each candidate is pulled by; nothing pulls at one that is -inf."""
        target = self._target[block][:, None]
        order = _best_first(scores)
        own, own_place = np.take_along_axis(scores, target, axis=1), _place(order, target)
        by_place = np.abs(self._discounts[own_place] - self._discounts)
        by_place[:, N_FIRST:] *= own_place < N_FIRST
        worth = np.empty_like(scores)
        np.put_along_axis(worth, order, by_place, axis=1)
        lead = own - scores
        np.put_along_axis(worth, target, 0, axis=1)  # the target is no pair with itself
        varies = np.count_nonzero(lead, axis=1) > self._n_left_out[block]
        np.divide(worth, SOFTENING + np.abs(lead), out=worth, where=varies[:, None])
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


def _best_first(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the columns of each row, (E, W), the highest score first; of ties by column."""
    columns = np.arange(scores.shape[1], dtype=np.uint64)
    keys = descending_keys(scores.astype(np.float32)) | columns
    keys.sort(axis=1)
    keys &= PLACE
    return keys.view(np.int64)


def _place(order: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where a column (E, 1) stands in each row's order, (E, 1)."""
    place: NDArray[np.int64] = (order == columns).argmax(axis=1)[:, None]
    return place
