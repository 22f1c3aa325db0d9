"""Lists from whole rows, by NumPy for the first queries and by machine code after them.

Loading machine code takes seconds, which one query on a command line should not wait for and a
service need not: it is loaded beside the queries, once there are many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dafm_core.fusion.base import Tile
from dafm_core.fusion.best import Best
from dafm_core.fusion.channels.compiled import row_loops
from dafm_core.fusion.channels.tops import TwoStages
from dafm_core.search.code_loops import CodeLoops, code_loops
from dafm_core.search.later import Later
from dafm_core.search.screened_rows import ScreenedRows

MANY: Final = 200
"""Queries after which more are to be expected."""
CLOSE_PER_PLACE: Final = 6
"""Images that the whole fusion is asked about, for each place in a list."""


class Quickening:
    """Finds the best images of rows; safe to use from many threads.

    Parameters
    ----------
    stages : TwoStages
    make_rows : callable, optional
        Makes what gives rows quickly, where that is possible.

    Attributes
    ----------
    later : Later
        Loads machine code.
    rows : ScreenedRows or None
        What gives rows quickly, once machine code is there.
    """

    def __init__(
        self, stages: TwoStages, make_rows: Callable[[CodeLoops], ScreenedRows] | None = None
    ) -> None:
        self._stages = stages
        self._make_rows = make_rows
        self.rows: ScreenedRows | None = None
        self.later = Later(MANY)

    def best(self, tile: Tile, k: int, *, n_first: int) -> Best:
        """Return the best k images of each row; parameters as :meth:`TwoStages.best`."""
        self.later.count(len(tile), lambda: self._load(tile[:1], k, n_first))
        return self._stages.best(tile, k, n_first=n_first, close_per_place=CLOSE_PER_PLACE)

    def _load(self, tile: Tile, k: int, n_first: int) -> None:
        """Load machine code where there is any, and use it from now on."""
        loops, codes = row_loops(), code_loops()
        if loops is not None:
            quick = self._stages.compiled(loops)
            quick.best(tile, k, n_first=n_first)  # compiles, or reads what was compiled before
            self._stages = quick
        if codes is not None and self._make_rows is not None:
            self.rows = self._make_rows(codes)
