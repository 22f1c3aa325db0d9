"""The best candidates of a query in two stages: networks and costly channels for few of them.

First, whole rows are standardised, and every model's best candidates are chosen. Then only those
get channels, and only the best of those by a cheap score are asked of what is costly. What can be
lost by it is measured by ``tests/benchmarks/speed``; with as many first as candidates, nothing is.

Both stages exist as machine code (``opening.py``) and in NumPy (``candidates.py``): the same
numbers, but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

import numpy as np

from dafm_core.fusion.base import Tile
from dafm_core.fusion.best import Best
from dafm_core.fusion.channels.candidates import Candidates, MadeView, PlainOpener
from dafm_core.fusion.channels.compiled import RowLoops
from dafm_core.fusion.channels.opening import CompiledOpener
from dafm_core.fusion.channels.view import ChannelReader, ViewScorer
from dafm_core.ground.ordering import best_of_rows, tie_places

N_FIRST, FIRST_PER_PLACE = 100, 3
"""Best candidates of each model that are fused: at least, and for each place in a list."""
N_CLOSE, CLOSE_PER_PLACE = 128, 4
"""Best by the cheap score that the costly one is asked about: at least, and for each place."""
AT_ONCE: Final = 16
"""Queries whose candidates are scored and ranked together."""

Opener: TypeAlias = Callable[[Tile, int], Iterator[Candidates]]
"""Yields the candidates of each query of a tile: those that some model has among so many first."""


class TwoStages:
    """Finds the best candidates of rows of one gallery; safe to use from many threads.

    Parameters
    ----------
    reader : ChannelReader
    score : callable
        Scores a view.
    cheap : callable, optional
        Scores a view nearly as well, at a fraction of the cost.
    loops : RowLoops, optional
        Machine code; NumPy without.
    """

    def __init__(
        self,
        reader: ChannelReader,
        score: ViewScorer,
        *,
        cheap: ViewScorer | None,
        loops: RowLoops | None,
    ) -> None:
        self._reader, self._score, self._cheap = reader, score, cheap
        self._places = tie_places(reader.source[0].ids)
        self._open: Opener = PlainOpener(reader)
        if loops is not None:
            self._open = CompiledOpener(reader, loops)

    def compiled(self, loops: RowLoops) -> TwoStages:
        """Return the same by machine code."""
        return TwoStages(self._reader, self._score, cheap=self._cheap, loops=loops)

    def best(
        self,
        tile: Tile,
        k: int,
        *,
        n_first: int | None = None,
        close_per_place: int = CLOSE_PER_PLACE,
    ) -> Best:
        """Return the best k candidates of each row.

        Parameters
        ----------
        n_first : int, optional
            Best candidates of each model that are fused; by default as many as ``k`` needs.
        close_per_place : int
            Best by the cheap score that the costly one is asked about, for each place.
        """
        n_gallery = tile.shape[2]
        first = min(n_gallery, n_first or max(N_FIRST, FIRST_PER_PLACE * k))
        n_close = max(N_CLOSE, close_per_place * k) if first < n_gallery else n_gallery
        found, close = Best.none(len(tile), k), dict[int, Candidates]()
        for b, view in enumerate(self._open(tile, first)):
            n_chosen = len(view.columns_in_gallery)
            if n_chosen < min(k, int(np.count_nonzero(tile[b, 0] > -np.inf))):
                self._put_of_whole_row(tile[b : b + 1], b, found)
                continue
            found.n_fused[b] = n_chosen
            if self._cheap is not None and n_chosen > n_close:
                cheap = self._cheap(view)[0]
                view = view.some(np.argpartition(cheap, n_chosen - n_close)[-n_close:])
            close[b] = view
            if len(close) == AT_ONCE:
                self._settle(close, found)
                close.clear()
        self._settle(close, found)
        return found

    def _settle(self, close: Mapping[int, Candidates], found: Best) -> None:
        """Rank the candidates of some queries; those with equally many of them at once."""
        for width in {len(view.columns_in_gallery) for view in close.values()}:
            some = {b: v for b, v in close.items() if len(v.columns_in_gallery) == width}
            fused = self._score(MadeView.of(list(some.values())))
            columns = np.stack([view.columns_in_gallery for view in some.values()])
            order = best_of_rows(fused, self._places[columns], found.columns.shape[1])
            for b, own, scores, ordered in zip(some, columns, fused, order, strict=True):
                found.put(b, own[ordered], scores[ordered], n_fused=int(found.n_fused[b]))

    def _put_of_whole_row(self, tile: Tile, b: int, found: Best) -> None:
        """Rank all candidates of a query (1, K, N) of which no model tells enough apart."""
        fused = self._score(self._reader.read(tile))
        fused[0, np.isneginf(tile[0, 0])] = -np.inf
        best = Best.of_scores(fused, self._places, found.columns.shape[1])
        kept = best.columns[0] >= 0
        n_fused = int(best.n_fused[0])
        found.put(b, best.columns[0, kept], best.scores[0, kept], n_fused=n_fused)
