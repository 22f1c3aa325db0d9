"""Each candidate fused by the providers that know it, where some were asked about a few only.

A verifier that was asked about fifty candidates says nothing of the rest. Those are fused as if it
were not there; the fifty are fused with it, and get the mean and the spread that the fusion without
it gives them, so that being asked neither rewards nor punishes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Scores, Tile, TileScorer
from dafm_core.fusion.completing import complete
from dafm_core.store.gallery import Gallery


class KnowledgeScorer:
    """Scores tiles (B, K, N) in which NaN says that a provider was not asked.

    Parameters
    ----------
    scorer_of : callable
        From a gallery with some of the providers to the function that fuses its tiles.
    gallery : Gallery
    """

    def __init__(self, scorer_of: Callable[[Gallery], TileScorer], gallery: Gallery) -> None:
        self._gallery = gallery
        self._scorer_of = cache(lambda names: scorer_of(gallery.select(names)))
        self._all = scorer_of(gallery)

    def __call__(self, tile: Tile) -> Scores:
        """Return fused scores, (B, N)."""
        partial = np.isnan(tile).any(axis=2)  # (B, K)
        fused = np.empty((len(tile), tile.shape[2]), np.float32)
        for pattern in np.unique(partial, axis=0):
            rows = np.flatnonzero((partial == pattern).all(axis=1))
            if not pattern.any():
                fused[rows] = self._all(tile[rows])
            elif pattern.all():  # nobody knows every candidate
                fused[rows] = self._all(complete(tile[rows], self._gallery))
            else:
                fused[rows] = self._by_knowledge(tile[rows], pattern)
        return fused

    def _by_knowledge(self, tile: Tile, partial: NDArray[np.bool_]) -> Scores:
        """Return scores of rows in which the same providers know a part of the candidates."""
        without = self._score(tile, ~partial)
        fused = without.copy()
        asked = np.flatnonzero(partial)
        knows = np.isfinite(tile[:, asked])  # (B, P, N)
        code = (knows * (1 << np.arange(len(asked)))[:, None]).sum(axis=1)  # (B, N)
        for who in np.unique(code[code > 0]).tolist():
            members = [i for i in range(len(asked)) if who >> i & 1]
            chosen = ~partial
            chosen[asked[members]] = True
            known: NDArray[np.bool_] = np.all(knows[:, members], axis=1)
            level = _levelled(self._score(tile, chosen), without, known)
            np.copyto(fused, level, where=code == who)
        return fused

    def _score(self, tile: Tile, providers: NDArray[np.bool_]) -> Scores:
        names = tuple(n for n, used in zip(self._gallery.names, providers, strict=True) if used)
        score = self._all if len(names) == self._gallery.n_providers else self._scorer_of(names)
        return score(tile[:, providers])


def _levelled(scores: Scores, like: Scores, known: NDArray[np.bool_]) -> Scores:
    """Return scores with the mean and spread that ``like`` has over each row's known cells."""
    mean, spread = _mean_and_spread(scores, known)
    wanted_mean, wanted_spread = _mean_and_spread(like, known)
    factor = np.divide(wanted_spread, spread, out=np.zeros_like(spread), where=spread > 0)
    centred = np.where(known, scores, 0) - mean
    level: Scores = (wanted_mean + centred * factor).astype(np.float32)
    return level


def _mean_and_spread(scores: Scores, known: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
    """Return mean and standard deviation over each row's known cells, (B, 1)."""
    n = np.maximum(known.sum(axis=1, keepdims=True), 1)
    values = np.where(known, scores, 0).astype(np.float64)
    mean = values.sum(axis=1, keepdims=True) / n
    squares = np.where(known, values - mean, 0) ** 2
    return mean, np.sqrt(squares.sum(axis=1, keepdims=True) / n)
