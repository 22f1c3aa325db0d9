"""How much of what is wanted is there: the score of the providers that measure amounts.

A surplus costs less than a lack, as fits a search for what a text asks for. The price is hubs:
candidates that hold much of everything are near every query.

References
----------
Swain and Ballard, Color Indexing, IJCV 1991 (histogram intersection); Tversky, Features of
Similarity, Psychological Review 1977 (unequal weight of what lacks and what is too much).
"""

from __future__ import annotations

import numpy as np

from dafm_core.contract.provider import Features, Similarity


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
