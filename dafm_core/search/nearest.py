"""Which images score highest in a direction: the inner product with one model's query, or with
those of several models side by side. Exact, by blocked products; or by an engine and a scan of what
it does not hold yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.search.spaces import Space

if TYPE_CHECKING:
    from dafm_core.search.engines import SpaceEngines

Direction: TypeAlias = Mapping[str, NDArray[np.float32]]
"""Vectors by provider: an image's score is the sum of their products with its features."""

BLOCK_IMAGES: Final = 1 << 15
"""Images scored at a time: their features stay in memory that is read once."""


class Nearest:
    """Finds images of a gallery.

    Parameters
    ----------
    features : mapping of str to Vectors
        One of the ``spaces`` of an index.
    engine : SpaceEngines, optional
        Searches most of them; the others, added since, are scanned.
    """

    def __init__(self, features: Space, engine: SpaceEngines | None = None) -> None:
        self._features = features
        self._engine = engine
        self._n_images = len(next(iter(features.values())))
        self._tail = np.empty(0, np.int64) if engine is None else engine.tail
        self._tail_features = {
            name: part.take(self._tail) for name, part in features.items() if len(self._tail)
        }

    def __call__(
        self, directions: Sequence[Direction], n: int, shown: NDArray[np.bool_] | None = None
    ) -> list[NDArray[np.int64]]:
        """Return the n best columns in each direction, best first.

        Parameters
        ----------
        shown : ndarray of shape (N,), bool, optional
            Which images may be found.
        """
        if shown is not None and shown.sum() <= BLOCK_IMAGES:
            columns = np.flatnonzero(shown)
            chosen = {name: part.take(columns) for name, part in self._features.items()}
            best = [_best(columns, row, n) for row in _scores(chosen, directions)]
        elif self._engine is None:
            best = self._scanned(directions, n, shown)
        else:
            best = self._engine.search(directions, n, shown)
            if len(self._tail):
                hidden = None if shown is None else ~shown[self._tail]
                for d, row in enumerate(_scores(self._tail_features, directions)):
                    if hidden is not None:
                        row[hidden] = -np.inf
                    best[d] = _joined([best[d], _best(self._tail, row, n)], n)
        return [columns for columns, _ in best]

    def _scanned(
        self, directions: Sequence[Direction], n: int, shown: NDArray[np.bool_] | None
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        empty = (np.empty(0, np.int64), np.empty(0, np.float32))
        best = [empty for _ in directions]
        names = list(self._features)
        for blocks in zip(
            *(self._features[name].blocks(BLOCK_IMAGES) for name in names), strict=True
        ):
            columns = np.arange(blocks[0][0].start, blocks[0][0].stop)
            chosen = {name: block for name, (_, block) in zip(names, blocks, strict=True)}
            for d, row in enumerate(_scores(chosen, directions)):
                if shown is not None:
                    row[~shown[columns]] = -np.inf
                best[d] = _joined([best[d], _best(columns, row, n)], n)
        return best


def _scores(
    features: Mapping[str, NDArray[np.float32]], directions: Sequence[Direction]
) -> NDArray[np.float32]:
    """Return the score of each image in each direction, (B, n)."""
    n = len(next(iter(features.values())))
    scores = np.zeros((len(directions), n), np.float32)
    for name, block in features.items():
        used = [d for d, direction in enumerate(directions) if name in direction]
        if used:
            scores[used] += np.stack([directions[d][name] for d in used]) @ block.T
    return scores


def _best(
    columns: NDArray[np.int64], row: NDArray[np.float32], n: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the n best of some columns and their scores, best first; none at -inf."""
    if len(row) > n:
        first = np.argpartition(row, len(row) - n)[len(row) - n :]
        columns, row = columns[first], row[first]
    order = np.argsort(-row, kind="stable")
    order = order[row[order] > -np.inf]
    return columns[order], row[order]


def _joined(
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]], n: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return _best(
        np.concatenate([columns for columns, _ in parts]),
        np.concatenate([scores for _, scores in parts]),
        n,
    )
