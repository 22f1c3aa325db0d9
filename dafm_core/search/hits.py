"""Which images of a ranking are shown, in which order."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.ids import Ids
from dafm_core.ground.ordering import reaching
from dafm_core.search.answers import Hit


def best(
    scores: NDArray[np.float32], k: int, ids: Ids, columns: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return where the k best scores above -inf stand; ties by a hash of the id.

    Parameters
    ----------
    scores : ndarray of shape (W,)
    columns : ndarray of shape (W,), int64, optional
        Which images they are of; every image by default.
    """
    k = min(k, len(scores))
    if not k:
        return np.empty(0, np.int64)
    near = reaching(scores, k)
    if len(near) > k:
        near = near[scores[near] >= np.partition(scores[near], -k)[-k]]
    near = near[scores[near] > -np.inf]
    order = np.argsort(-scores[near], kind="stable")
    ordered = scores[near[order]]
    if (ordered[1:] != ordered[:-1]).all():  # hashes decide among ties alone, and take longest
        return near[order[:k]]
    names = [ids[place if columns is None else columns[place]] for place in near]
    hashes = [hashlib.sha256(name.encode()).digest() for name in names]
    by_name = sorted(range(len(near)), key=lambda i: (-scores[near[i]], hashes[i]))
    return near[by_name[:k]]


def single(
    scores: NDArray[np.float32], k: int, ids: Ids, columns: NDArray[np.int64] | None = None
) -> tuple[Hit, ...]:
    """Return what one provider alone would have shown; parameters as :func:`best`."""
    places = best(np.where(np.isfinite(scores), scores, np.float32(-np.inf)), k, ids, columns)
    found = places if columns is None else columns[places]
    return tuple(
        Hit.plain(rank, ids[column], score)
        for rank, (score, column) in enumerate(
            zip(scores[places].tolist(), found.tolist(), strict=True), start=1
        )
    )
