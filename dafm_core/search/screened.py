"""What short codes say of a query: which images are worth an exact score, and how many stand above.

What is made of those images is ``two_stage.py``'s and ``whole_rows.py``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.ordering import reaching
from dafm_core.search.code_loops import EDGE, N_BUCKETS, PER_UNIT

if TYPE_CHECKING:
    from dafm_core.search.screen import Screen

MISSING: Final = np.float32(-1e30)
"""Score of an image that is no candidate."""
SOME: Final = 1 << 12
"""Images whose rest is added at a time."""
STRATA: Final = ((4, 1), (16, 2), (64, 8))
"""Up to so many times the first images that are wanted, all numbers of the codes of every
so-and-so-many-th image are looked at: of the highest all, of lower ones fewer.
"""
KNOWN, STEP = 16, 1.25
"""Up to so many times that rank ranks are known from them, in steps of this factor."""

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Values:
    """Something by which images are ordered: a sum over some providers.

    Parameters
    ----------
    values : ndarray of shape (R,), float32
        Of each row, by the first numbers of its codes.
    models : tuple of int
        Which providers are summed,
    shares : ndarray of float32
        their parts of the sum,
    is_seen : bool
        and whether it is of scores as a bank sees them.
    """

    values: Vector
    models: tuple[int, ...]
    shares: Vector
    is_seen: bool


@dataclass(frozen=True, eq=False)
class Tail:
    """A provider's highest scores, by all numbers of codes.

    Parameters
    ----------
    columns : ndarray of int64
        Its first images, best first.
    scores, more : ndarray of shape (n,)
        Scores, descending, and how many more images are not below each than codes say.
    """

    columns: NDArray[np.int64]
    scores: Vector
    more: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Screened:
    """What codes say of a query, by row: images of each part, removed ones included.

    Parameters
    ----------
    screen : Screen
    weights : sequence of ndarray of shape (D,), float32
        By provider, what all numbers of codes are multiplied with.
    names : tuple of str
    scores, seen : ndarray of shape (K, R), float32
        Standardised scores, and as a bank sees them: the same without one.
    sum : Values
        Weighted sum of what is seen.
    counts : ndarray of shape (K, N_BUCKETS), int64
        How many of ``seen`` are in each bucket; (K, 0) where nobody asked.
    """

    screen: Screen
    weights: Sequence[Vector]
    names: tuple[str, ...]
    scores: NDArray[np.float32]
    seen: NDArray[np.float32]
    sum: Values
    counts: NDArray[np.int64]

    def scores_of(self, k: int) -> Values:
        """Return one provider's scores."""
        return Values(self.scores[k], (k,), np.ones(1, np.float32), False)

    def seen_of(self, k: int) -> Values:
        """Return one provider's scores as the bank sees them."""
        return Values(self.seen[k], (k,), np.ones(1, np.float32), self.sum.is_seen)

    def best(
        self,
        asked: Sequence[tuple[Values, int, int]],
        shown: NDArray[np.bool_] | None = None,
    ) -> list[NDArray[np.int64]]:
        """Return columns of the best images by each of some values, in no order.

        Parameters
        ----------
        asked : sequence of (Values, int, int)
            How many are wanted, and among how many by the first numbers of codes.
        shown : ndarray of shape (N,), bool, optional
            Which images may be found.
        """
        hidden = None if shown is None else self.screen.row_of[~shown]

        def near(one: tuple[Values, int, int]) -> NDArray[np.int64]:
            values = one[0].values
            if hidden is not None:
                values = values.copy()
                values[hidden] = MISSING
            return _first(values, one[2])

        found = self.screen.spread(near, asked)
        if not self.screen.codes.rest:
            return [self.screen.column_of[rows] for rows in found]
        pieces = [
            (i, rows[start : start + SOME])
            for i, rows in enumerate(found)
            for start in range(0, len(rows), SOME)
        ]

        def better(piece: tuple[int, NDArray[np.int64]]) -> Vector:
            i, rows = piece
            values = asked[i][0]
            exact: Vector = values.values[rows] + self.screen.rest_of(values, self, rows)
            return exact

        whole: list[list[Vector]] = [[] for _ in asked]
        for (i, _), one in zip(pieces, self.screen.spread(better, pieces), strict=True):
            whole[i].append(one)
        best = []
        for (_, n, _), rows, parts in zip(asked, found, whole, strict=True):
            if len(rows) > n:
                values = np.concatenate(parts)
                rows = rows[np.argpartition(values, len(rows) - n)[len(rows) - n :]]
            best.append(self.screen.column_of[rows])
        return best

    def tails(self, n: int) -> list[Tail]:
        """Return what is known of each provider's highest scores, as the bank sees them.

        Parameters
        ----------
        n : int
            First images that are wanted.
        """
        return self.screen.spread(lambda k: self._tail(k, n), range(len(self.names)))

    def _tail(self, k: int, n: int) -> Tail:
        seen = self.seen[k]
        rows = _first(seen, STRATA[-1][0] * n)
        rows, edges = rows[np.argsort(-seen[rows])], [times * n for times, _ in STRATA[:-1]]
        strata = np.split(rows, edges)
        some = [stratum[::every] for stratum, (_, every) in zip(strata, STRATA, strict=True)]
        for_each = [len(all_) / max(1, len(part)) for all_, part in zip(strata, some, strict=True)]
        chosen, weights = np.concatenate(some), np.repeat(for_each, [len(part) for part in some])
        by_row = np.argsort(chosen)
        chosen, weights = chosen[by_row], weights[by_row]
        coded = seen[chosen]
        exact = coded + self.screen.rest_of(self.seen_of(k), self, chosen)
        order, order_by_codes = np.argsort(-exact), np.argsort(-coded)
        above, above_by_codes = np.cumsum(weights[order]), np.cumsum(weights[order_by_codes])
        wanted = n * STEP ** np.arange(1 + np.log(KNOWN) // np.log(STEP))
        at = np.unique(np.searchsorted(above, wanted).clip(0, len(order) - 1))
        scores = exact[order[at]]
        same = np.searchsorted(-coded[order_by_codes], -scores, "right")
        more = above[at] - np.append(0, above_by_codes)[same]
        return Tail(self.screen.column_of[chosen[order[:n]]], scores, more)

    def above(self, k: int, tail: Tail) -> tuple[Vector, NDArray[np.float64]]:
        """Return scores as a model is seen, descending, and how many are not below each.

        Those that codes say are counted, and what exact scores of some say of that is put right:
        codes leave out some of what scores vary by, the more the higher they are.
        """
        edges = EDGE - np.arange(1, N_BUCKETS, dtype=np.float32) / PER_UNIT
        counts = np.maximum(np.cumsum(self.counts[k, :-1]), 1).astype(np.float64)
        if len(tail.scores) > 2 and tail.scores[-1] > 0:
            highest, lowest = tail.scores[0], tail.scores[-1]
            there = np.interp(-tail.scores, -edges, counts)
            wrong = np.log(np.maximum(there + tail.more, 1) / there)
            line = np.polyval(np.polyfit(tail.scores, wrong, 1), edges.clip(lowest, highest))
            counts *= np.exp(line * np.clip(edges / lowest, 0, 1) ** 2)
        return edges, np.maximum.accumulate(counts)

    def some(self, n: int) -> NDArray[np.int64]:
        """Return rows evenly drawn, about n, of images that are candidates."""
        n_rows = len(self.sum.values)
        rows = np.arange(0, n_rows, max(1, n_rows // n))
        return rows[self.sum.values[rows] > MISSING]


def _first(values: Vector, n: int) -> NDArray[np.int64]:
    """Return the rows of at least the n highest values, ascending; none that is missing."""
    rows = reaching(values, n)
    return rows[values[rows] > MISSING]
