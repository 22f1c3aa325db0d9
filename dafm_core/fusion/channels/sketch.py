"""Columns of a bank too large to be sorted at once: what is known of it after one pass.

Queries are read a batch at a time. Moments add up, and sums of a few queries each are kept for what
they have in common (``topics.py``). Of each batch's sorted columns some ranks are kept, all of them
at the top, and batches are merged by weight: the thresholds of the first ``N_EXACT`` ranks are
those of all queries, and the others are off by a few hundredths of their rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.reverse_ranks import LOWEST, ReverseRanks, geometric_ranks
from dafm_core.fusion.channels.topics import Mixtures
from dafm_core.ground.normalize import column_moments
from dafm_core.ground.ordering import descending_keys, scores_of_keys
from dafm_core.ground.room import ONE_OF_MANY, empty

N_EXACT: Final = 32
"""Best scores of a column that every batch keeps."""
GROWTH: Final = 1.1
"""How much higher each rank beyond is than the last."""
WEIGHT: Final = np.uint64((1 << 32) - 1)
"""Bits of a key that hold how many queries a kept score stands for."""
MERGE_CELLS: Final = 1 << 21
"""Kept scores that are merged at a time."""


@dataclass(frozen=True, eq=False)
class ColumnSketch:
    """What some queries of a bank say of each candidate.

    Parameters
    ----------
    moments : ndarray of shape (3, K, N), float64
        See ``normalize.column_moments``.
    ranks : ndarray of shape (R,), int64
        Ascending, the last being the number of queries.
    values : ndarray of shape (R, K, N), float32
        Each column's ``ranks``-highest scores.
    mixtures : Mixtures
        Sums of queries, for what they have in common.
    """

    moments: NDArray[np.float64]
    ranks: NDArray[np.int64]
    values: NDArray[np.float32]
    mixtures: Mixtures

    @classmethod
    def of_scores(cls, scores: NDArray[np.float32], n_mixtures: int) -> ColumnSketch:
        """Return the sketch of a batch of row-standardised scores, (B, K, N)."""
        ranks = kept_ranks(len(scores))
        moments = column_moments(scores[i : i + 64] for i in range(0, len(scores), 64))
        thresholds = ReverseRanks.at(scores, ranks).thresholds
        values = empty(thresholds.shape, np.float32, in_memory=ONE_OF_MANY)
        values[:] = thresholds
        return cls(moments, ranks, values, Mixtures.of(scores, n_mixtures))


def kept_ranks(n: int) -> NDArray[np.int64]:
    """Return the ranks that a batch of n queries keeps.

    Examples
    --------
    >>> kept_ranks(40).tolist()[28:]
    [29, 30, 31, 32, 35, 39, 40]
    """
    n_more = max(0, int(np.ceil(np.log(n / N_EXACT) / np.log(GROWTH)))) if n > N_EXACT else 0
    more = np.round(N_EXACT * GROWTH ** np.arange(1, n_more + 1))
    return np.unique(np.append(np.arange(1, N_EXACT + 1), more).clip(1, n).astype(np.int64))


def merged_moments(sketches: Iterable[ColumnSketch]) -> NDArray[np.float64]:
    """Return the moments of all batches together."""
    moments: NDArray[np.float64] = np.sum([sketch.moments for sketch in sketches], axis=0)
    return moments


def merged_ranks(sketches: Sequence[ColumnSketch]) -> ReverseRanks:
    """Return the thresholds of all batches together."""
    parts = [np.diff(sketch.ranks, prepend=0) for sketch in sketches]
    weights = np.concatenate(parts).astype(np.uint64)
    ranks = geometric_ranks(int(weights.sum()))
    n_providers, n_gallery = sketches[0].values.shape[1:]
    thresholds = np.empty((len(ranks), n_providers, n_gallery), np.float32)
    step = max(1, MERGE_CELLS // (len(weights) * n_providers))
    for start in range(0, n_gallery, step):
        block = slice(start, start + step)
        values = np.concatenate([sketch.values[:, :, block] for sketch in sketches])
        keys = descending_keys(values.reshape(len(weights), -1).T.copy())  # (cells, kept ranks)
        keys |= weights
        keys.sort(axis=1)
        counted = np.cumsum(
            keys & WEIGHT, axis=1, dtype=np.int64
        )  # queries that score a candidate so high
        for at, rank in zip(thresholds, ranks, strict=True):
            first = np.count_nonzero(counted < rank, axis=1)
            found = np.take_along_axis(keys, first[:, None], axis=1)
            at[:, block] = scores_of_keys(found).reshape(n_providers, -1)
    return ReverseRanks(ranks, np.maximum(thresholds, LOWEST))
