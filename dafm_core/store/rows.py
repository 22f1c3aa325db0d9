"""Rows of K providers as they lie, in memory or on disk, read as a tile (B, K, N)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.half_precision import widen, widen_rows
from dafm_core.ground.ragged import Ragged
from dafm_core.store.shortlist import Shortlist

TILE_BYTES = 32 << 20
"""Memory of one tile of raw scores; a fuser's own channels multiply it."""
CACHED_BYTES = 4 << 20
"""The same where what is made of a tile on the way should stay in the cache."""


def read_tile(
    matrices: Sequence[NDArray[Any] | Shortlist],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64] | None,
    excluded: Ragged,
) -> NDArray[np.float32]:
    """Return raw scores (B, K, N): -inf where excluded, NaN where a shortlist has no score.

    Parameters
    ----------
    matrices : sequence of K ndarrays or Shortlists
    rows : ndarray of shape (B,), int64
    columns : ndarray of shape (N,), int64, optional
        All of them, in their order, without.
    excluded : Ragged of B rows
        Columns of the tile.
    """
    n_columns = matrices[0].shape[1] if columns is None else len(columns)
    tile = np.empty((len(rows), len(matrices), n_columns), np.float32)
    for k, matrix in enumerate(matrices):
        if columns is None and isinstance(matrix, np.ndarray) and widen_rows(matrix, rows, tile, k):
            continue
        widen(stored_rows(matrix, rows, columns), tile[:, k])
    tile[excluded.rows, :, excluded.values] = -np.inf
    return tile


def stored_rows(
    matrix: NDArray[Any] | Shortlist,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64] | None,
) -> NDArray[Any]:
    """Return rows of a matrix as they are stored, (B, N); parameters as :func:`read_tile`."""
    # A run of rows is read where it lies, and not copied first.
    is_run = len(rows) > 0 and bool((np.diff(rows) == 1).all())
    if is_run and isinstance(matrix, np.ndarray):
        block: NDArray[Any] = np.asarray(matrix[int(rows[0]) : int(rows[-1]) + 1])
    else:
        block = matrix[rows]
    return block if columns is None else block[:, columns]
