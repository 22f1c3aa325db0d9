"""Columns of a bank too large to be sorted at once: what is known of it after one pass.

Queries are read a batch at a time. Moments add up, and sums of a few queries each are kept for what
they have in common (``topics.py``). Of each batch's sorted columns some ranks are kept, all of them
at the top, and batches are merged by weight: the thresholds of the first ``N_EXACT`` ranks are
those of all queries, and the others are off by a few hundredths of their rank. Machine code counts
what NumPy sorts (``sketch_loops.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.reverse_ranks import LOWEST, ReverseRanks, geometric_ranks
from dafm_core.fusion.channels.sketch_loops import (
    collect_first,
    count_column,
    deal_rows,
    merge_columns,
    rank_column,
    sketch_columns,
    sort_descending,
    write_ranked,
)
from dafm_core.fusion.channels.topics import Mixtures
from dafm_core.ground.machine_code import machine_code
from dafm_core.ground.normalize import column_moments, zscore_rows
from dafm_core.ground.ordering import descending_keys, scores_of_keys
from dafm_core.ground.room import ONE_OF_MANY, empty
from dafm_core.store.stack import SimilarityStack

N_EXACT: Final = 32
"""Best scores of a column that every batch keeps."""
GROWTH: Final = 1.1
"""How much higher each rank beyond is than the last."""
ENTRY: Final = np.uint64((1 << 32) - 1)
"""Bits of a key that say which kept score it is."""
ROWS_BYTES: Final = 1 << 20
"""Standardised rows of one provider that are dealt to columns at a time, while in the cache."""
IN_LINE: Final = 16
"""Scores in a line of the cache: so many rows, or a multiple, fill lines of columns at once."""
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
        values = _room_of_many((len(ranks), *scores.shape[1:]))
        moments = column_moments(scores[i : i + 64] for i in range(0, len(scores), 64))
        values[:] = ReverseRanks.at(scores, ranks).thresholds
        return cls(moments, ranks, values, Mixtures.of(scores, n_mixtures))

    @classmethod
    def of_rows(
        cls,
        shape: tuple[int, int, int],
        rows_of: Callable[[int], Iterable[NDArray[np.float32]]],
        n_mixtures: int,
        loops: SketchLoops,
        room: NDArray[np.float32] | None = None,
    ) -> ColumnSketch:
        """Return the sketch of a batch whose rows are read model by model.

        Parameters
        ----------
        shape : (B, K, N)
        rows_of : callable
            From a model's number to its row-standardised rows, (b, N), a few at a time. They are
            written over.
        n_mixtures : int
        loops : SketchLoops
        room : ndarray of shape (>= ``cells_of(B, N)``,), float32, optional
            Room to work in.
        """
        n_queries, n_models, n_gallery = shape
        ranks = kept_ranks(n_queries)
        n_exact, values = min(N_EXACT, n_queries), _room_of_many((len(ranks), n_models, n_gallery))
        mixtures, place, signs = Mixtures.begun(shape, n_mixtures)
        moments, crowded = np.empty((3, n_models, n_gallery)), np.empty((n_models, n_gallery), bool)
        n_cells = cells_of(n_queries, n_gallery)
        whole = np.empty(n_cells, np.float32) if room is None else np.asarray(room[:n_cells])
        columns = whole.reshape(n_gallery, -1)
        sums, written = np.asarray(mixtures.rows), np.asarray(values)
        for k in range(n_models):
            start = 0
            for rows in rows_of(k):
                some = slice(start, start + len(rows))
                own = rows.view(np.int32), rows, place[some], signs[some]
                loops.deal(*own, start, k, columns, sums)
                start = some.stop
            read = columns, k, place, signs, ranks, n_exact
            loops.sketch(*read, moments, written, sums, crowded)
            for i in np.flatnonzero(crowded[k]):
                column = columns[i, :n_queries].reshape(-1, 1, 1)
                values[:, k, i] = ReverseRanks.at(column, ranks).thresholds[:, 0, 0]
        return cls(moments, ranks, values, mixtures)


def cells_of(n_queries: int, n_gallery: int) -> int:
    """Return how many cells columns of so many queries take.

    Each begins at a line of the cache, and no two near each other at the same place in it.
    """
    n_lines: int = -(-n_queries // IN_LINE) | 1
    return IN_LINE * n_lines * n_gallery


def _room_of_many(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return empty(shape, np.float32, in_memory=ONE_OF_MANY)


def rows_of(stack: SimilarityStack, k: int) -> Iterator[NDArray[np.float32]]:
    """Yield row-standardised scores of one provider, (b, N), a few at a time, in the same room."""
    own = stack.select([stack.names[k]])
    n_rows = max(1, ROWS_BYTES // (4 * own.n_gallery * IN_LINE)) * IN_LINE
    room = np.empty((n_rows, 1, own.n_gallery), np.float32)
    for _, tile in own.tiles(n_rows):
        yield zscore_rows(tile, room[: len(tile)])[:, 0]


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


def merged_ranks(
    sketches: Sequence[ColumnSketch],
    sets: NDArray[np.bool_],
    loops: SketchLoops | None = None,
) -> list[ReverseRanks]:
    """Return the thresholds of several sets of batches together, from sorting what is kept once.

    Parameters
    ----------
    sketches : sequence of B ColumnSketch
    sets : ndarray of shape (P, B), bool
        Which batches are in each set; at least one.
    """
    parts = [np.diff(sketch.ranks, prepend=0) for sketch in sketches]
    kept = np.repeat(sets, [len(part) for part in parts], axis=1)
    weights = np.where(kept, np.concatenate(parts), 0)  # (P, W)
    ranks = [geometric_ranks(int(n)) for n in weights.sum(axis=1)]
    n_providers, n_gallery = sketches[0].values.shape[1:]
    thresholds = [np.empty((len(own), n_providers, n_gallery), np.float32) for own in ranks]
    step = max(1, MERGE_CELLS // (weights.shape[1] * n_providers))
    for start in range(0, n_gallery, step):
        block = slice(start, start + step)
        values = np.concatenate([sketch.values[:, :, block] for sketch in sketches])
        keys = descending_keys(values.reshape(len(values), -1).T.copy())  # (cells, kept scores)
        keys |= np.arange(len(values), dtype=np.uint64)
        keys.sort(axis=1)
        scores, entries = scores_of_keys(keys), (keys & ENTRY).astype(np.uint32)
        merge = _merge if loops is None else loops.merge
        for own_weights, own_ranks, own in zip(weights, ranks, thresholds, strict=True):
            found = np.empty((len(own_ranks), len(keys)), np.float32)
            merge(scores, entries, own_weights, own_ranks, found)
            own[:, :, block] = found.reshape(len(own), n_providers, -1)
    return [
        ReverseRanks(own_ranks, np.maximum(own, LOWEST))
        for own_ranks, own in zip(ranks, thresholds, strict=True)
    ]


def _merge(
    scores: NDArray[np.float32],
    entries: NDArray[np.uint32],
    weights: NDArray[np.int64],
    ranks: NDArray[np.int64],
    thresholds: NDArray[np.float32],
) -> None:
    """Do in NumPy what ``sketch_loops.merge_columns`` does."""
    counted = np.cumsum(weights[entries], axis=1)  # queries that score a candidate so high
    for at, rank in zip(thresholds, ranks, strict=True):
        first = np.count_nonzero(counted < rank, axis=1)
        at[:] = np.take_along_axis(scores, first[:, None], axis=1)[:, 0]


class SketchLoops(NamedTuple):
    """Loops of ``sketch_loops.py``."""

    deal: Callable[..., Any]
    sketch: Callable[..., Any]
    merge: Callable[..., Any]


@cache
def sketch_loops() -> SketchLoops | None:
    """Return the loops as machine code, or None where Numba is missing or turned off."""
    parts = count_column, collect_first, sort_descending, write_ranked, rank_column
    deal, merge = machine_code(deal_rows), machine_code(merge_columns)
    sketch = machine_code(sketch_columns, *parts)
    return SketchLoops(deal, sketch, merge) if deal and sketch and merge else None
