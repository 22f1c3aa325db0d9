"""The best candidates of a query in two stages: networks and costly channels for few of them.

First, whole rows are standardised, and every model's best candidates are chosen. Then only those
get channels, and only the best of those by a cheap score are asked of what is costly. What can be
lost by it is measured by ``tests/benchmarks/speed``; with as many first as candidates, nothing is.

Both stages exist as machine code (``opening.py``) and in NumPy (``candidates.py``): the same
numbers, but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Tile
from dafm_core.fusion.best import Best, BestScorer
from dafm_core.fusion.channels.candidates import Candidates, PlainOpener
from dafm_core.fusion.channels.compiled import RowLoops
from dafm_core.fusion.channels.opening import CompiledOpener
from dafm_core.fusion.channels.view import ChannelReader, ViewScorer
from dafm_core.ground.ordering import best_first, tie_places

N_FIRST, FIRST_PER_PLACE = 200, 6
"""Best candidates of each model that are fused: at least, and for each place in a list."""
N_CLOSE, CLOSE_PER_PLACE = 128, 4
"""Best by the cheap score that the costly one is asked about: at least, and for each place."""
WORTH_COMPILING: Final = 1 << 28
"""Scores to fuse from which on machine code repays the second that it takes to load Numba."""

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

    def best(tile: Tile) -> Best:
        found = Best.none(len(tile), k)
        for b, view in enumerate(opened(tile)):
            columns = view.columns_in_gallery
            if len(columns) < min(k, int(np.count_nonzero(tile[b, 0] > -np.inf))):
                # No model tells so many apart: all of them, then.
                fused = score(reader.read(tile[b : b + 1]))
                fused[0, np.isneginf(tile[b, 0])] = -np.inf
                found.put(b, *_first(Best.of_scores(fused, places, k)))
                continue
            if cheap is not None and len(columns) > n_close:
                close = np.argpartition(cheap(view)[0], len(columns) - n_close)[-n_close:]
                view = view.some(close)
                columns = view.columns_in_gallery
            fused = score(view)[0]
            order = best_first(fused, places[columns], k)
            found.put(b, columns[order], fused[order])
        return found

    return best


def _first(best: Best) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    kept = best.columns[0] >= 0
    return best.columns[0, kept], best.scores[0, kept]
