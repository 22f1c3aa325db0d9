"""What a fusion takes and gives: tiles of raw scores, fused scores, and functions between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.metrics.families import Head

Tile: TypeAlias = NDArray[np.float32]
"""Raw scores of a few queries, ``(B, K, N)``; excluded cells are -inf, all others finite."""

Scores: TypeAlias = NDArray[np.float32]
"""Fused scores of a few queries, ``(B, N)``; excluded cells are -inf."""

TileScorer: TypeAlias = Callable[[Tile], Scores]
"""Fuses a tile ``(B, K, N) -> (B, N)``; excluded cells stay -inf; rows do not see each other."""

HeadScorer: TypeAlias = Callable[[Tile], Mapping[Head, Scores]]
"""Fuses a tile once and gives the scores of every head asked for, each ``(B, N)``."""
