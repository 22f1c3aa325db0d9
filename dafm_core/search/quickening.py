"""Lists from whole rows, by NumPy for the first queries and by machine code after them.

Loading machine code takes seconds, which one query on a command line should not wait for and a
service need not: it is loaded beside the queries, once there are many.
"""

from __future__ import annotations

import threading
from typing import Final

from dafm_core.fusion.base import Tile
from dafm_core.fusion.best import Best
from dafm_core.fusion.channels.compiled import row_loops
from dafm_core.fusion.channels.tops import TwoStages

MANY: Final = 200
"""Queries after which more are to be expected."""


class Quickening:
    """Finds the best images of rows; safe to use from many threads.

    Attributes
    ----------
    loading : Thread or None
        What loads machine code, or has done so.
    """

    def __init__(self, stages: TwoStages) -> None:
        self._stages = stages
        self.loading: threading.Thread | None = None
        self._n_asked = 0
        self._lock = threading.Lock()

    def best(self, tile: Tile, k: int, *, n_first: int) -> Best:
        """Return the best k images of each row; parameters as :meth:`TwoStages.best`."""
        with self._lock:
            self._n_asked += len(tile)
            if self.loading is None and self._n_asked >= MANY:
                self.loading = threading.Thread(
                    target=self._load, args=(tile[:1].copy(), k, n_first)
                )
                self.loading.start()
        return self._stages.best(tile, k, n_first=n_first)

    def _load(self, tile: Tile, k: int, n_first: int) -> None:
        """Load machine code where there is any, and use it from now on."""
        loops = row_loops()
        if loops is not None:
            quick = self._stages.compiled(loops)
            quick.best(tile, k, n_first=n_first)  # compiles, or reads what was compiled before
            self._stages = quick
