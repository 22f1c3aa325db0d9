"""Whole rows of a gallery that fits in memory, in a fraction of the time: by codes, and exactly
where an image may be a hit.

Candidates are each provider's first images, by its score and by what the bank makes of that; what
only stands for the rest of a row is within rounding. Codes are ``codes.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Tile
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.search.closed_form import N_TOP
from dafm_core.search.code_loops import CodeLoops
from dafm_core.search.codes import Codes, Coding
from dafm_core.search.features import GalleryFeatures
from dafm_core.search.index import GalleryIndex
from dafm_core.search.moments import Moments, RowMoments
from dafm_core.search.screen import Screen

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one query.

    Parameters
    ----------
    tile : ndarray of shape (1, K, N), float32
        -inf where excluded.
    mean, std : ndarray of shape (K, 1), float32
        Of each row.
    """

    tile: Tile
    mean: NDArray[np.float32]
    std: NDArray[np.float32]


class ScreenedRows:
    """Rows of an index; made by :meth:`of`; safe to use from many threads.

    Parameters
    ----------
    features : mapping of str to GalleryFeatures
    screen : Screen
        Of the same providers, by all numbers of their codes.
    moments : mapping of str to tuple of ndarray of shape (D,), float32
        Mean and variance of each number of a provider's codes.
    """

    SAID: Final = "scores of other images were rounded to eight bits a number"

    def __init__(
        self,
        features: Mapping[str, GalleryFeatures],
        screen: Screen,
        moments: Mapping[str, tuple[Vector, Vector]],
    ) -> None:
        self._features, self._screen, self._moments = features, screen, moments

    @classmethod
    def of(cls, index: GalleryIndex, bank: QueryBank | None, loops: CodeLoops) -> ScreenedRows:
        """Return rows of an index whose scores are inner products.

        Parameters
        ----------
        bank : QueryBank or None
            Of its images.
        """
        features = {name: index.features(name) for name in index.names}
        codings, first, moments = {}, {}, {}
        for name, part in features.items():
            whole, asked = part.whole(), index.asked_before(name)
            codings[name] = Coding.of(Moments.of([(whole, None)]), asked, whole)
            codes = codings[name].codes(whole)
            first[name] = [codes]
            moments[name] = (
                codes.mean(axis=0, dtype=np.float32),
                codes.var(axis=0, dtype=np.float32),
            )
        said, names = list[NDArray[np.float32]](), tuple[str, ...]()
        if bank is not None:
            columns = bank.aligned(index.gallery).statistics
            said = [np.ascontiguousarray(np.concatenate([columns.mean, columns.std]).T)]
            names = index.names
        every = Codes(codings, first, (), said, names)
        screen = Screen(every, np.arange(index.n_images), loops)
        made = cls(features, screen, moments)
        one = {name: index.asked_before(name)[0] for name in index.names}
        made.rows(one, np.empty(0, np.int64), N_TOP, N_TOP)  # compiles what is not compiled yet
        return made

    def rows(
        self, queries: Mapping[str, Vector], excluded: NDArray[np.int64], depth: int, n_heads: int
    ) -> Rows:
        """Return the rows of a query.

        Parameters
        ----------
        queries : mapping of str to ndarray of shape (D,)
        excluded : ndarray of int64
        depth : int
            First images of each provider, as the bank sees them, that will be ranked: half of them
            have exact scores,
        n_heads : int
            and as many as this by its own score.
        """
        every = range(len(queries))
        rows: dict[str, RowMoments] = {}

        def row_of(name: str, query: Vector, weights: Vector) -> RowMoments:
            rows[name] = self._row(name, query, weights, excluded)
            return rows[name]

        found = self._screen(
            *(queries, row_of, np.zeros(len(queries)), excluded),
            has_bank=bool(self._screen.codes.said),
            counted=False,
        )
        n_heads = max(n_heads, N_TOP)
        asked = [(found.seen_of(k), depth // 2, depth // 2) for k in every]
        asked += [(found.scores_of(k), n_heads, n_heads) for k in every]
        known = np.zeros(found.scores.shape[1], np.bool_)
        for columns in found.best(asked):
            known[columns] = True
        columns = np.flatnonzero(known)
        std, mean = np.array([[r.std, r.mean] for r in rows.values()], np.float32).T[:, :, None]
        tile = found.scores * std + mean
        for k, (name, query) in enumerate(queries.items()):
            tile[k, columns] = self._features[name].scores(columns, query)
        tile[:, excluded] = -np.inf
        return Rows(tile[None], mean, std)

    def _row(
        self, name: str, query: Vector, weights: Vector, excluded: NDArray[np.int64]
    ) -> RowMoments:
        """Return mean and spread of a row: directions of codes are at right angles."""
        coding, (mean, variance) = self._screen.codes.codings[name], self._moments[name]
        offset = float(query @ coding.centre)
        n, first, square = float(len(self._features[name])), weights @ mean, weights**2 @ variance
        out = np.empty(0)
        if len(excluded):
            out = self._features[name].scores(excluded, query).astype(np.float64) - offset - first
        left = max(n - len(out), 1.0)
        moved = -out.sum() / left
        square = (n * float(square) - (out**2).sum()) / left - moved**2
        std = float(np.sqrt(max(square, 0.0)))
        return RowMoments(left, offset + float(first) + moved, std, offset)
