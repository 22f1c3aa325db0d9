"""Rows standardised and ranked by machine code, from when loading it is repaid.

The numbers are those of ``normalize.py``, to the bit, so nothing depends on which of the two has
made them; Numba takes a second to load, and some more where nothing was compiled before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground import rank_loops as r
from dafm_core.ground import zscore_loops as z
from dafm_core.ground.machine_code import machine_code

WORTH_LOADING: Final = 1 << 26
"""Cells on which NumPy takes as long as loading machine code does."""
MANY: Final = 1 << 22
"""Cells that are worth it where something else has loaded Numba already."""


class QuickRows(NamedTuple):
    """Loops of ``zscore_loops.py`` and ``rank_loops.py``."""

    standardise: Callable[..., Any]
    rank: Callable[..., Any]

    def standardise_rows(self, scores: NDArray[np.float32], out: NDArray[np.float32]) -> list[int]:
        """Standardise rows (R, N); return which of them NumPy has to do."""
        bits = np.ascontiguousarray(scores).view(np.int32)
        done = np.empty((len(scores), 1), bool)
        self.standardise(bits[:, None], False, out[:, None], done)
        return np.flatnonzero(~done).tolist()

    def mean_of_zscores(self, tile: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return the mean over models of standardised rows, (B, K, N) -> (B, N); None where NumPy
        has to do it.
        """
        mean = np.empty((len(tile), 1, tile.shape[2]), np.float32)
        done = np.empty(tile.shape[:2], bool)
        self.standardise(np.ascontiguousarray(tile).view(np.int32), True, mean, done)
        return mean[:, 0] if done.all() else None

    def rank_rows(self, scores: NDArray[np.float32], *, as_shares: bool) -> NDArray[np.float32]:
        """Return the ranks of rows (R, N), or the shares of others that are beaten."""
        scores, ranks = np.ascontiguousarray(scores), np.empty(scores.shape, np.int32)
        self.rank(scores.view(np.int32), ranks, as_shares)
        return ranks.view(np.float32)


_in_use: list[QuickRows] = []
"""One, once it is loaded."""


def load_for(n_cells: int) -> None:
    """Load machine code if so many cells, which are about to be worked on, repay it."""
    if not _in_use and n_cells >= (MANY if "numba" in sys.modules else WORTH_LOADING):
        _in_use.extend(_made())


def quick_rows() -> QuickRows | None:
    """Return the loops where they are loaded."""
    return _in_use[0] if _in_use else None


@cache
def _made() -> tuple[QuickRows, ...]:
    """Return the loops, or nothing without Numba."""
    rows = machine_code(
        z.standardise_rows,
        *(r.set_aside, z.order_of, z.find_ends, z.standardise_shares, z.standardise_row),
        exact=(z.less, z.shift_and_divide, z.add_to, z.divide),
    )
    rank = machine_code(
        r.rank_rows_of_bits,
        *(r.set_aside, r.rank_key, r.half_code, r.survey),
        *(r.rank_by_counts, r.rank_by_digits, r.write_shares_beaten),
        exact=(r.share_beaten,),
    )
    return (QuickRows(rows, rank),) if rows and rank else ()
