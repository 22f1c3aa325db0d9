"""Each candidate's nearest other candidates in one provider's gallery features, stored beside its
scores.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.provider import Features
from dafm_core.ground.normalize import unit_rows

N_NEIGHBOURS = 16
BLOCK_BYTES = 64 << 20
"""Memory of the cosines held at a time, whatever the size of the gallery."""

MAX_GALLERY = 50_000
"""Candidates up to which neighbours are found unasked: the work grows with their square."""

logger = logging.getLogger(__name__)


def neighbours_wanted(n_gallery: int, *, asked: bool | None) -> bool:
    """Say whether to find neighbours: as asked, or in a gallery that is not too large; say so."""
    if asked is None and n_gallery > MAX_GALLERY:
        logger.warning(
            "neighbours: left out of a gallery of %d images, more than %d. Ask for them with "
            "--neighbours.",
            *(n_gallery, MAX_GALLERY),
        )
        return False
    return asked is not False


def nearest_neighbours(
    features: Features, *, n_neighbours: int = N_NEIGHBOURS, block_rows: int | None = None
) -> NDArray[np.int32] | None:
    """Return the candidates of highest cosine to each candidate, nearest first, itself left out.

    Parameters
    ----------
    features : ndarray of shape (N, ..., D)
        Several vectors per candidate are averaged before the cosine is taken.
    n_neighbours : int
    block_rows : int, optional
        Rows of the N x N cosines held at a time; by default as many as take ``BLOCK_BYTES``.

    Returns
    -------
    ndarray of shape (N, min(n_neighbours, N - 1)), int32, or None
        None where there is nothing to compare: one candidate, or features without width.
    """
    n_gallery = len(features)
    width = min(n_neighbours, n_gallery - 1)
    if width < 1 or features.ndim < 2 or 0 in features.shape:
        return None
    vectors = np.asarray(features, dtype=np.float32)
    vectors = vectors.reshape(n_gallery, -1, vectors.shape[-1]).mean(1)  # (N, ..., D) -> (N, D)
    vectors = unit_rows(vectors)
    nearest = np.empty((n_gallery, width), np.int32)
    block_rows = block_rows or max(1, BLOCK_BYTES // (4 * n_gallery))
    for start in range(0, n_gallery, block_rows):
        cosines = vectors[start : start + block_rows] @ vectors.T  # (b, N)
        here = np.arange(len(cosines))
        cosines[here, start + here] = -np.inf
        top = np.argpartition(-cosines, width - 1, axis=1)[:, :width]
        order = np.argsort(-np.take_along_axis(cosines, top, axis=1), axis=1, kind="stable")
        nearest[start : start + block_rows] = np.take_along_axis(top, order, axis=1)
    return nearest
