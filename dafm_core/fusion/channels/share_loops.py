"""What whole rows have of a bank's topics, as a loop for Numba to compile; in NumPy: ``cells.py``.

A part of the rows and of the directions at a time stays in the cache.
"""

from __future__ import annotations

from typing import Any

from dafm_core.fusion.channels.row_loops import CHUNK, ZERO
from dafm_core.ground.product_loops import add_dots_by_fours


def write_shares(columns: Any, directions: Any, shares: Any) -> None:
    """Write what rows have of each direction of a bank.

    Parameters
    ----------
    columns : ndarray of shape (R, K * N), float32
        Rows of K models one after the other; R is a multiple of four.
    directions : ndarray of shape (K, H, N), float32
    shares : ndarray of shape (K, R, H'), float32
        Written; H' is H, or more to be a multiple of four.
    """
    n_models, _, n_gallery = directions.shape
    for k in range(n_models):
        shares[k] = ZERO
        for start in range(0, n_gallery, CHUNK):
            stop = min(start + CHUNK, n_gallery)
            first = k * n_gallery
            add_dots_by_fours(columns, first + start, first + stop, directions[k], start, shares[k])
