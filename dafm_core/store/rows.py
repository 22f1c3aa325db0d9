"""Rows of K providers as they lie, in memory or on disk, read as a tile (B, K, N)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import SimilarityError
from dafm_core.ground.ragged import Ragged
from dafm_core.store.shortlist import Shortlist

TILE_BYTES = 32 << 20
"""Memory of one tile of raw scores; a fuser's own channels multiply it."""


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
    run = slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
    is_run = bool((np.diff(rows) == 1).all())
    for k, matrix in enumerate(matrices):
        # A run of rows is read where it lies, and not copied first.
        block = matrix[run] if is_run and isinstance(matrix, np.ndarray) else matrix[rows]
        _widen(block if columns is None else block[:, columns], tile[:, k])
    tile[excluded.rows, :, excluded.values] = -np.inf
    return tile


def _widen(block: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Write scores (B, N) as float32; float16 by looking up what each of its numbers is.

    That is twice as fast as NumPy converts them.
    """
    if block.dtype != np.float16 or block.size < len(float16_numbers()):
        out[:] = block
        return
    for row, wide in zip(block, out, strict=True):
        np.take(float16_numbers(), row.view(np.uint16), out=wide, mode="clip")


@cache
def float16_numbers() -> NDArray[np.float32]:
    """Return every number of float16, by its bits."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def refuse_nan(name: str, matrix: NDArray[Any], dataset: Dataset) -> None:
    """Raise SimilarityError at a NaN, for only a shortlist says what a missing score means, and at
    +inf.
    """
    step = max(1, TILE_BYTES // max(1, 4 * matrix.shape[1]))
    for start in range(0, len(matrix), step):
        missing = ~(matrix[start : start + step] < np.inf)
        if missing.any():
            row, column = (int(i) for i in np.argwhere(missing)[0])
            got = "NaN" if np.isnan(matrix[start + row, column]) else "+inf"
            raise SimilarityError(
                f"provider {name!r}: expected scores, got {got} for query "
                f"{dataset.query_ids[start + row]!r}, image {dataset.gallery_ids[column]!r}. Give "
                "the rows as a Shortlist if they are incomplete."
            )
