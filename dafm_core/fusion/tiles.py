"""What a fusion takes and gives: tiles of raw scores, fused scores, and functions between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import SimilarityError
from dafm_core.metrics.families import Head

Tile: TypeAlias = NDArray[np.float32]
"""Raw scores of a few queries, ``(B, K, N)``; excluded cells are -inf, all others finite."""

Scores: TypeAlias = NDArray[np.float32]
"""Fused scores of a few queries, ``(B, N)``; excluded cells are -inf."""

TileScorer: TypeAlias = Callable[[Tile], Scores]
"""Fuses a tile ``(B, K, N) -> (B, N)``; excluded cells stay -inf; rows do not see each other."""

HeadScorer: TypeAlias = Callable[[Tile], Mapping[Head, Scores]]
"""Fuses a tile once and gives the scores of every head asked for, each ``(B, N)``."""


def usable_tile(tile: Any, shape: tuple[int, int], who: str) -> Tile:
    """Return a tile; raise SimilarityError unless it is numbers of so many providers and images."""
    found = np.shape(tile)
    if not isinstance(tile, np.ndarray) or tile.dtype.kind != "f" or found[1:] != shape:
        raise SimilarityError(
            f"{who}: expected a tile of float32 scores of shape (queries, {shape[0]}, {shape[1]}), "
            f"got {getattr(tile, 'dtype', type(tile).__name__)} of shape {found}. Its providers "
            "and images are those of the gallery, in that order."
        )
    return tile
