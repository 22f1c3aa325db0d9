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
from numpy.typing import NDArray

from dafm_core.fusion.base import Tile
from dafm_core.fusion.best import Best, BestScorer
from dafm_core.fusion.channels.candidates import Candidates, MadeView, PlainOpener
from dafm_core.fusion.channels.compiled import RowLoops
from dafm_core.fusion.channels.opening import CompiledOpener
from dafm_core.fusion.channels.view import ChannelReader, ViewScorer
from dafm_core.ground.ordering import best_of_rows, tie_places

N_FIRST, FIRST_PER_PLACE = 200, 6
"""Best candidates of each model that are fused: at least, and for each place in a list."""
N_CLOSE, CLOSE_PER_PLACE = 128, 4
"""Best by the cheap score that the costly one is asked about: at least, and for each place."""
AT_ONCE: Final = 16
"""Queries whose candidates are scored and ranked together."""
WORTH_COMPILING: Final = 500
"""Queries from which on machine code repays the second or two that it takes to load it."""

Opener: TypeAlias = Callable[[Tile], Iterator[Candidates]]
"""Yields the candidates of each query of a tile."""


def two_stages(
    reader: ChannelReader,
    score: ViewScorer,
    k: int,
    *,
    cheap: ViewScorer | None,
    loops: RowLoops | None,
    n_first: int | None = None,
) -> BestScorer:
    """Return the function that finds the best k candidates of each row.

    Parameters
    ----------
    score : callable
        Scores a view.
    k : int
    cheap : callable, optional
        Scores a view nearly as well, at a fraction of the cost.
    loops : RowLoops, optional
        Machine code; NumPy without.
    n_first : int, optional
        Best candidates of each model that are fused; by default as many as ``k`` needs.
    """
    gallery = reader.source[0]
    places, n_gallery = tie_places(gallery.ids), gallery.n_candidates
    first = min(n_gallery, n_first or max(N_FIRST, FIRST_PER_PLACE * k))
    n_close = max(N_CLOSE, CLOSE_PER_PLACE * k) if first < n_gallery else n_gallery
    opened: Opener = PlainOpener(reader, first)
    if loops is not None:
        opened = CompiledOpener(reader, first, loops)

    def settle(close: Mapping[int, Candidates], found: Best) -> None:
        """Rank the candidates of some queries; those with equally many of them at once."""
        for width in {len(view.columns_in_gallery) for view in close.values()}:
            some = {b: v for b, v in close.items() if len(v.columns_in_gallery) == width}
            fused = score(MadeView.of(list(some.values())))
            columns = np.stack([view.columns_in_gallery for view in some.values()])
            order = best_of_rows(fused, places[columns], k)
            for b, own, scores, ordered in zip(some, columns, fused, order, strict=True):
                found.put(b, own[ordered], scores[ordered])

    def best(tile: Tile) -> Best:
        found, close = Best.none(len(tile), k), dict[int, Candidates]()
        for b, view in enumerate(opened(tile)):
            n_chosen = len(view.columns_in_gallery)
            if n_chosen < min(k, int(np.count_nonzero(tile[b, 0] > -np.inf))):
                # No model tells so many apart: all of them, then.
                fused = score(reader.read(tile[b : b + 1]))
                fused[0, np.isneginf(tile[b, 0])] = -np.inf
                found.put(b, *_first(Best.of_scores(fused, places, k)))
                continue
            if cheap is not None and n_chosen > n_close:
                view = view.some(np.argpartition(cheap(view)[0], n_chosen - n_close)[-n_close:])
            close[b] = view
            if len(close) == AT_ONCE:
                settle(close, found)
                close.clear()
        settle(close, found)
        return found

    return best


def _first(best: Best) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    kept = best.columns[0] >= 0
    return best.columns[0, kept], best.scores[0, kept]
