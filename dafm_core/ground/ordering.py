"""From scores to a list, best first: where one order must be chosen among ties.

Evaluation never chooses (it takes the expectation over all orders). A file must: ties are broken by
a hash of the image id, the same everywhere and independent of the gallery's order, which leaks
labels on CIRR.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def tie_places(image_ids: Sequence[str]) -> NDArray[np.int64]:
    """Return each image's place in the order of hashes that breaks ties."""
    hashes = [hashlib.sha256(image_id.encode()).digest() for image_id in image_ids]
    places = np.empty(len(hashes), np.int64)
    places[sorted(range(len(hashes)), key=hashes.__getitem__)] = np.arange(len(hashes))
    return places


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
