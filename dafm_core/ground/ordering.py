"""From scores to a list, best first: where one order must be chosen among ties.

Evaluation never chooses (it takes the expectation over all orders). A file must: ties are broken by
a hash of the image id, the same everywhere and independent of the gallery's order, which leaks
labels on CIRR.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.ids import Ids

PER_GROUP: Final = 4
"""Groups of a row for each score that is wanted."""


def tie_places(image_ids: Sequence[str]) -> NDArray[np.int64]:
    """Return each image's place in the order of hashes that breaks ties; found once for Ids."""
    ids = image_ids if isinstance(image_ids, Ids) else Ids(image_ids)
    return ids.tie_places


def reaching(scores: NDArray[np.float32], n: int) -> NDArray[np.int64]:
    """Return the positions of the n best scores of a row (N,), and of a few more, ascending.

    Many times faster than to order a long row: n of as many groups have a score that high.

    Examples
    --------
    >>> row = np.random.default_rng(0).normal(size=10_000)
    >>> found = reaching(row, 10)
    >>> set(np.argsort(-row)[:10]) <= set(found), len(found) < 30
    (True, True)
    """
    n_groups = PER_GROUP * n
    if len(scores) <= 2 * n_groups:
        n = min(n, len(scores))
        edge = np.partition(scores, len(scores) - n)[len(scores) - n]
    else:
        whole = scores[: len(scores) // n_groups * n_groups].reshape(-1, n_groups)
        edge = np.partition(whole.max(axis=0), n_groups - n)[n_groups - n]
    return np.flatnonzero(scores >= edge)


def best_first(
    scores: NDArray[np.float32], places: NDArray[np.int64], depth: int
) -> NDArray[np.int64]:
    """Return the positions of the ``depth`` best scores of one row, ties by place.

    Parameters
    ----------
    scores : ndarray of shape (N,)
        No NaN; -inf ranks last.
    places : ndarray of shape (N,)
        Of :func:`tie_places`.

    Examples
    --------
    >>> best_first(np.array([1, 3, 3, -np.inf], np.float32), np.array([3, 2, 1, 0]), 3)
    array([2, 1, 0])
    """
    near = np.arange(len(scores))
    if depth < len(scores):
        near = np.flatnonzero(scores >= np.partition(scores, -depth)[-depth])
    order: NDArray[np.int64] = near[np.lexsort((places[near], -scores[near]))]
    return order[:depth]


def best_of_rows(
    scores: NDArray[np.float32], places: NDArray[np.int64], depth: int
) -> NDArray[np.int64]:
    """Return the positions of the best scores of each row (B, W), ties by place (B, W).

    For rows of a few hundred candidates: each is sorted whole. Shapes otherwise, and the rule, as
    :func:`best_first`.
    """
    order: NDArray[np.int64] = np.argsort(descending_keys(scores) | places.view(np.uint64), axis=1)
    return order[:, :depth]


def descending_keys(scores: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return whole numbers that ascend where scores descend, in the upper half of their bits.

    What stands in the lower half goes with its score when they are sorted, several times faster
    than an order is found.

    Examples
    --------
    >>> keys = descending_keys(np.array([1, -2, 3], np.float32)) | np.arange(3, dtype=np.uint64)
    >>> scores_of_keys(np.sort(keys)).tolist(), (np.sort(keys) & np.uint64(0xFFFFFFFF)).tolist()
    ([3.0, 1.0, -2.0], [2, 0, 1])
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0: no -0, which is level with 0
    bits ^= (bits.view(np.int32) >> 31).view(np.uint32) | np.uint32(0x80000000)  # ascending
    return (~bits).astype(np.uint64) << np.uint64(32)


def scores_of_keys(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Return the scores that :func:`descending_keys` was given."""
    bits = ~(keys >> np.uint64(32)).astype(np.uint32)
    bits ^= ~(bits.view(np.int32) >> 31).view(np.uint32) | np.uint32(0x80000000)
    return bits.view(np.float32)


def best_ranked(
    scores: NDArray[np.float32], places: NDArray[np.int64], depth: int
) -> NDArray[np.int64]:
    """Return the positions of the ``depth`` best scores that are not excluded, ties by place.

    Parameters
    ----------
    scores : ndarray of shape (N,)
        No NaN; -inf where a candidate is excluded.
    places : ndarray of shape (N,)
        Of :func:`tie_places`.

    Examples
    --------
    >>> best_ranked(np.array([1, 3, 3, -np.inf], np.float32), np.array([3, 2, 1, 0]), 4)
    array([2, 1, 0])
    """
    order = best_first(scores, places, depth)
    return order[scores[order] > -np.inf]
