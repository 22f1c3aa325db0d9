"""Rows standardised, ranked and counted by machine code, from when loading it is repaid.

The numbers are those of ``normalize.py`` and ``half_precision.py``, to the bit, so that nothing
depends on what has made them; Numba takes a second to load, and some more where nothing was
compiled before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground import float_bits as f
from dafm_core.ground import half_loops as h
from dafm_core.ground import rank_loops as r
from dafm_core.ground import zscore_loops as z
from dafm_core.ground.machine_code import machine_code

WORTH_LOADING: Final = 1 << 26
"""Cells on which NumPy takes as long as loading machine code does."""
MANY: Final = 1 << 22
"""Cells that are worth it where something else has loaded Numba already."""


class QuickRows(NamedTuple):
    """Loops of ``zscore_loops.py``, ``rank_loops.py`` and ``half_loops.py``."""

    standardise: Callable[..., Any]
    rank: Callable[..., Any]
    count: Callable[..., Any]
    find_odd: Callable[..., Any]

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

    def count_above(
        self, scores: NDArray[Any], bars: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many scores of each row (B, N) are above its bar (B,), and how many level.

        Both are float16, or both float32.
        """
        above, level = np.empty(len(scores), np.int64), np.empty(len(scores), np.int64)
        whole = np.int16 if scores.dtype == np.float16 else np.int32
        bits, bar_bits = (np.ascontiguousarray(part).view(whole) for part in (scores, bars))
        self.count(bits, bar_bits, whole(np.iinfo(whole).min), above, level)
        return above, level

    def are_odd(self, scores: NDArray[np.float16]) -> NDArray[np.bool_]:
        """Say of rows (B, N) whether there is a NaN or +inf in them."""
        odd = np.empty(len(scores), bool)
        self.find_odd(np.ascontiguousarray(scores).view(np.int16), odd)
        return odd


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
        *(r.set_aside, f.order_of, z.find_ends, z.standardise_shares, z.standardise_row),
        exact=(f.less, f.shift_and_divide, z.add_to, z.divide),
    )
    rank = machine_code(
        r.rank_rows_of_bits,
        *(r.set_aside, r.rank_key, r.half_code, r.survey),
        *(r.rank_by_counts, r.rank_by_digits, r.write_shares_beaten),
        exact=(r.share_beaten,),
    )
    count, find_odd = machine_code(h.count_in_rows), machine_code(h.find_odd_rows)
    if rows and rank and count and find_odd:
        return (QuickRows(rows, rank, count, find_odd),)
    return ()
