"""How much of what is wanted is there: the score of the two providers that count."""

from __future__ import annotations

import numpy as np

from dafm_core.provider import Features, Similarity


def overlap(queries: Features, gallery: Features, *, surplus: float) -> Similarity:
    """Return the sum of elementwise minima, less ``surplus`` times all that is there.

    Parameters
    ----------
    queries, gallery : ndarray of shape (n_queries, D) and (n_gallery, D), >= 0
    surplus : float
        0 ignores what is too much; 0.5 minds it as much as what is missing.
    """
    scores = np.broadcast_to(-surplus * gallery.sum(axis=1), (len(queries), len(gallery))).copy()
    for wanted, there in zip(queries.T, gallery.T, strict=True):
        scores += np.minimum(wanted[:, None], there)
    return scores.astype(np.float32)
