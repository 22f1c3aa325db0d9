"""What trees add to a candidate's score, many candidates at a time, by machine code.

LightGBM walks down each tree for each candidate, and waits at every split. Here each split of a
tree strikes the leaves that some candidates can no longer reach, in turn, whatever the others said:
of the leaves that are left, the first is where a walk would end. The numbers are LightGBM's, to the
bit.

References
----------
Lucchese et al., QuickScorer: a fast algorithm to rank documents with additive ensembles of
regression trees, SIGIR 2015; many documents at a time: Lucchese et al., SIGIR 2016.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.machine_code import machine_code

if TYPE_CHECKING:
    import lightgbm

N_LEAVES: Final = 32
"""Leaves that a tree may have: each is a bit."""
ALL: Final = np.uint32(0xFFFFFFFF)
ONE, SHIFT = np.uint32(1), np.uint32(27)
DE_BRUIJN: Final = np.uint32(0x077CB531)
"""Times a power of two, its upper five bits are another number for each power."""
BLOCK: Final = 256
"""Candidates worked on at a time."""


class Trees(NamedTuple):
    """T trees with S splits together, tree by tree.

    Parameters
    ----------
    ends : ndarray of shape (T,), int64
        How many splits there are up to the end of each tree.
    feature : ndarray of shape (S,), int64
    threshold : ndarray of shape (S,), float32
        A candidate whose feature is above it cannot reach the leaves on the left.
    kept : ndarray of shape (S,), uint32
        Which leaves it can reach then: from left to right, the lowest bit first.
    values : ndarray of shape (T, 32), float64
        What a leaf adds; it stands where :data:`DE_BRUIJN` puts its bit.
    """

    ends: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    kept: NDArray[np.uint32]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, booster: lightgbm.Booster) -> Trees | None:
        """Return the trees of a booster; None of those that ask for more than a number, and where
        there is no machine code, or nothing has loaded Numba yet.
        """
        if "numba" not in sys.modules or trees_loop() is None:
            return None
        ends, splits, values = [], [], []
        for tree in booster.dump_model()["tree_info"]:
            leaves: list[float] = []
            own = list(_splits(tree["tree_structure"], leaves))
            if len(leaves) > N_LEAVES or not all(map(_is_plain, (split for split, *_ in own))):
                return None
            splits += own
            ends.append(len(splits))
            values.append(_by_bit(leaves))
        kept = [_without(first, last) for _, first, last in splits]
        return cls(
            np.array(ends, np.int64),
            np.array([split["split_feature"] for split, *_ in splits], np.int64),
            _as_float32(np.array([split["threshold"] for split, *_ in splits], np.float64)),
            np.array(kept, np.uint32),
            np.reshape(values, (-1, N_LEAVES)),
        )

    def add_to(self, scores: NDArray[np.float32], features: NDArray[np.float32]) -> None:
        """Add what the trees say of features (B, F, N) to scores (B, N)."""
        loop = trees_loop()
        assert loop is not None  # or there would be no trees
        loop(features, *self, scores)


def _splits(
    node: Mapping[str, Any], leaves: list[float]
) -> Iterator[tuple[Mapping[str, Any], int, int]]:
    """Yield each split, and the leaves on its left from a first to before a last; write down what
    leaves add, from left to right.
    """
    if "leaf_value" in node:
        leaves.append(node["leaf_value"])
        return
    first = len(leaves)
    yield from _splits(node["left_child"], leaves)
    yield node, first, len(leaves)
    yield from _splits(node["right_child"], leaves)


def _is_plain(split: Mapping[str, Any]) -> bool:
    """Say whether a split asks for a number only, and knows of none that is missing."""
    return bool(split["decision_type"] == "<=" and split["missing_type"] == "None")


def _without(first: int, last: int) -> int:
    """Return all bits but some."""
    struck = (1 << last) - (1 << first)
    return int(ALL) & ~struck


def _by_bit(leaves: list[float]) -> NDArray[np.float64]:
    """Return what leaves add, each where its bit is put, (32,)."""
    values = np.zeros(N_LEAVES)
    bits = ONE << np.arange(len(leaves), dtype=np.uint32)
    values[bits * DE_BRUIJN >> SHIFT] = leaves
    return values


def _as_float32(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the highest float32 that is not above: the same float32 features are above both."""
    near = thresholds.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near > thresholds, below, near)


def add_trees(
    features: Any, ends: Any, feature: Any, threshold: Any, kept: Any, values: Any, scores: Any
) -> None:
    """Add what trees say of candidates to their scores.

    Parameters
    ----------
    features : ndarray of shape (B, F, N), float32
    ends, feature, threshold, kept, values : ndarray
        As in :class:`Trees`.
    scores : ndarray of shape (B, N), float32
        What trees add up to, in float64 and in their order, is added in float64.
    """
    left, sums = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.float64)
    n_candidates = scores.shape[1]
    for row in range(len(scores)):
        for start in range(0, n_candidates, BLOCK):
            n = min(BLOCK, n_candidates - start)
            sums[:] = 0.0
            split = 0
            for tree in range(len(ends)):
                left[:] = ALL
                while split < ends[tree]:
                    own = features[row, feature[split], start : start + n]
                    highest, mask = threshold[split], kept[split]
                    for i in range(n):
                        left[i] &= mask if own[i] > highest else ALL
                    split += 1
                leaf = values[tree]
                for i in range(n):
                    lowest = np.uint32(left[i] & np.uint32(~left[i] + ONE))
                    sums[i] += leaf[np.uint32(lowest * DE_BRUIJN) >> SHIFT]
            for i in range(n):
                scores[row, start + i] = np.float32(scores[row, start + i] + sums[i])


@cache
def trees_loop() -> Callable[..., Any] | None:
    """Return :func:`add_trees` as machine code, or None where Numba is missing or turned off."""
    return machine_code(add_trees)
