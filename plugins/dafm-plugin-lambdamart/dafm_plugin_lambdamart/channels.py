"""What the trees see of a candidate: its standardised scores by every provider.

Learning from them stands in ``fuser.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.normalize import ColumnStatistics, zscore_rows


def bank_of(tiles: Iterable[NDArray[np.float32]]) -> ColumnStatistics:
    """Return how the training queries score each candidate, from raw tiles (B, K, N)."""
    return ColumnStatistics.of_tiles(zscore_rows(tile) for tile in tiles)


def align_bank(
    bank: ColumnStatistics, bank_ids: Sequence[str], gallery_ids: Sequence[str]
) -> ColumnStatistics:
    """Return a bank's columns for another gallery; a candidate it does not know counts as average.

    Returns
    -------
    ColumnStatistics of shape (K, len(gallery_ids))
        Mean 0 and the bank's mean deviation where the bank does not know the candidate.
    """
    column_of = {image_id: column for column, image_id in enumerate(bank_ids)}
    columns = np.array([column_of.get(i, len(bank_ids)) for i in gallery_ids], dtype=np.int64)
    nobody = np.zeros((len(bank.mean), 1), np.float32)
    usual = bank.std.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    return ColumnStatistics(
        np.concatenate([bank.mean, nobody], axis=1)[:, columns],
        np.concatenate([bank.std, usual], axis=1)[:, columns],
    )


def channels_of(
    tile: NDArray[np.float32], bank: ColumnStatistics
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return each candidate's channels, and the plain fusion that the trees start from.

    Parameters
    ----------
    tile : ndarray of shape (B, K, N), float32
        Raw scores, -inf where excluded.
    bank : ColumnStatistics of shape (K, N)

    Returns
    -------
    channels : ndarray of shape (B, N, 2 K + 2), float32
        Per provider the row z-score, then the z-score once columns are standardised; then the mean
        of each kind. -inf where excluded.
    start : ndarray of shape (B, N), float32
        Mean of both kinds.
    """
    rows = zscore_rows(tile)
    columns = zscore_rows(bank.apply(rows))
    means = np.stack([rows.mean(axis=1), columns.mean(axis=1)], axis=1)  # (B, 2, N)
    channels = np.concatenate([rows, columns, means], axis=1).transpose(0, 2, 1)
    return np.ascontiguousarray(channels), means.mean(axis=1)
