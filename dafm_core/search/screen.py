"""Every image scored by short codes: nearly right, and in a fraction of the time.

What codes are is ``codes.py``'s; what they say of a query, ``screened.py``'s.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from dafm_core.search.code_loops import EDGE, N_BUCKETS, PER_UNIT, CodeLoops
from dafm_core.search.codes import HIGHEST, Codes
from dafm_core.search.moments import RowMoments
from dafm_core.search.screened import MISSING, Screened, Values

HIGHEST_WEIGHT, HIGHEST_SUM = (1 << 15) - 1, (1 << 31) - (1 << 20)
BLOCK: Final = 1 << 15
"""Images scored at a time: what a bank says of them stays in the cache."""
N_SHARED: Final = 1 << 17
"""Images from which threads share the work."""
MOST_THREADS: Final = 4
Vector = NDArray[np.float32]
S = TypeVar("S")
T = TypeVar("T")


class Screen:
    """Scores the images of an index by codes; safe to use from many threads.

    Parameters
    ----------
    codes : Codes
    column_of : ndarray of shape (R,), int64
        Which column of the gallery a row is; -1 where the image was removed.
    loops : CodeLoops, optional
        Machine code; NumPy without.
    """

    def __init__(
        self, codes: Codes, column_of: NDArray[np.int64], loops: CodeLoops | None = None
    ) -> None:
        self.codes, self.column_of = codes, column_of
        there = np.flatnonzero(column_of >= 0)
        self.row_of = np.empty(len(there), np.int64)
        self.row_of[column_of[there]] = there
        self._gone = np.flatnonzero(column_of < 0)
        self._loops = loops
        self._own = threading.local()
        self._starts = np.cumsum([0, *codes.sizes])
        self._blocks = _blocks(codes.sizes)
        ends = np.cumsum([0, *(c.n_rest for c in codes.codings.values())])
        self._segments = dict(zip(codes.codings, pairwise(ends), strict=True))
        shared = len(column_of) >= N_SHARED
        self._n_threads = min(MOST_THREADS, os.cpu_count() or 1) if shared else 1
        self._pool = ThreadPoolExecutor(self._n_threads) if self._n_threads > 1 else None

    @property
    def names(self) -> tuple[str, ...]:
        """Providers that have codes."""
        return tuple(self.codes.codings)

    def __call__(
        self,
        queries: Mapping[str, Vector],
        row_of: Callable[[str, Vector, Vector], RowMoments],
        weights: NDArray[np.float64],
        excluded: NDArray[np.int64],
        *,
        has_bank: bool,
        counted: bool,
    ) -> Screened:
        """Return what codes say of a query, until the same thread asks the next one.

        Parameters
        ----------
        queries : mapping of str to ndarray of shape (D,)
        row_of : callable
            From a provider's name, the query, and what its codes are multiplied with, to mean and
            spread of its scores.
        weights : ndarray of shape (K,)
            Of the sum.
        excluded : ndarray of int64
            Columns that are no candidates.
        has_bank : bool
            Whether to say what the bank makes of scores.
        counted : bool
            Whether to count how many stand above a score.
        """
        scores, seen, total = self._room(len(queries))
        if not has_bank:
            seen = scores
        asked, shares = [], weights.astype(np.float32)
        for k, (name, query) in enumerate(queries.items()):
            coding = self.codes.codings[name]
            whole = coding.weights(query)
            row = row_of(name, query, whole)
            inverse = np.float32(1 / row.std if row.std else 0)
            shift = np.float32(float(query @ coding.centre) - row.mean) * inverse
            whole = whole * inverse
            rounded, scale = _rounded(whole[: self.codes.first[name][0].shape[1]])
            asked.append(_Asked(k, name, whole, rounded, scale, shift, shares[k]))
        parts = np.array_split(np.array(self._blocks, np.int64), self._n_threads)
        width = N_BUCKETS if counted else 0

        def score(blocks: NDArray[np.int64]) -> NDArray[np.int32]:
            counts = np.zeros((len(asked), width), np.int32)
            for part, first, last, start in blocks.tolist():
                here = slice(start, start + last - first)
                total[here] = 0
                for one in asked:
                    out = scores[one.k, here], seen[one.k, here], total[here], counts[one.k]
                    self._score(one, part, slice(first, last), has_bank, *out)
            return counts

        counts = np.stack(self.spread(score, parts)).sum(axis=0, dtype=np.int64)
        summed = Values(total, tuple(range(len(asked))), shares, has_bank)
        screened = Screened(
            self, [one.weights for one in asked], tuple(queries), scores, seen, summed, counts
        )
        self._hide(screened, np.concatenate([self._gone, self.row_of[excluded]]))
        return screened

    def rest_of(self, values: Values, screened: Screened, rows: NDArray[np.int64]) -> Vector:
        """Return what the rest of their codes adds to values of some rows, ascending."""
        if not self.codes.rest:
            return np.zeros(len(rows), np.float32)
        names = [screened.names[k] for k in values.models]
        segments = np.array([self._segments[name] for name in names], np.int64)
        weights = np.zeros(self.codes.rest[0].shape[1], np.float32)
        for k, (start, stop), name in zip(values.models, segments, names, strict=True):
            weights[start:stop] = screened.weights[k][self.codes.codings[name].n_first :]
        bank = self.codes.bank_names
        places = np.array([bank.index(n) if values.is_seen else 0 for n in names], np.int64)
        out, bounds = np.zeros(len(rows), np.float32), np.searchsorted(rows, self._starts)
        none = np.empty((0, 0), np.float32)
        for p, rest in enumerate(self.codes.rest):
            here = slice(bounds[p], bounds[p + 1])
            said, own = self.codes.said[p] if values.is_seen else none, rows[here] - self._starts[p]
            if self._loops is not None:
                self._loops.write_rest(
                    *(rest, own, weights, segments, said, places, values.shares, out[here])
                )
                continue
            total, some = np.zeros(len(own), np.float32), rest[own].astype(np.float32)
            for (start, stop), place, share in zip(segments, places, values.shares, strict=True):
                part = some[:, start:stop] @ weights[start:stop]
                total += share * (
                    part / said[own, said.shape[1] // 2 + place] if values.is_seen else part
                )
            out[here] = total
        return out

    def spread(self, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """Do a piece of work for each item, on as many threads as are worth it."""
        return list((self._pool.map if self._pool else map)(work, items))

    def _room(self, n_models: int) -> tuple[NDArray[np.float32], NDArray[np.float32], Vector]:
        """Return room for rows; each thread's own, since new memory costs as much as the scores."""
        room: NDArray[np.float32] | None = getattr(self._own, "room", None)
        if room is None or len(room) != 2 * n_models + 1:
            room = np.empty((2 * n_models + 1, len(self.column_of)), np.float32)
            self._own.room = room
        return room[:n_models], room[n_models:-1], room[-1]

    def _score(
        self,
        asked: _Asked,
        part: int,
        there: slice,
        has_bank: bool,
        scores: Vector,
        seen: Vector,
        total: Vector,
        counts: NDArray[np.int32],
    ) -> None:
        """Score images of one part under one provider; parameters of ``write_scores``."""
        codes, weights = self.codes.first[asked.name][part][there], asked.rounded
        said = self.codes.said[part][there] if has_bank else np.empty((0, 0), np.float32)
        place = self.codes.bank_names.index(asked.name) if has_bank else 0
        if self._loops is not None:
            self._loops.write_scores(
                *(codes, weights, asked.scale, asked.shift, said, place, asked.share),
                *(scores, seen, total, counts),
            )
            return
        scores[:] = codes.astype(np.float32) @ weights.astype(np.float32)
        scores[:] = scores * asked.scale + asked.shift
        own = scores
        if has_bank:
            with np.errstate(all="ignore"):  # of removed images nothing may be known
                seen[:] = (scores - said[:, place]) / said[:, said.shape[1] // 2 + place]
            own = seen
        total += asked.share * own
        if len(counts):
            counts += np.bincount(_buckets(own), minlength=N_BUCKETS).astype(np.int32)

    @staticmethod
    def _hide(screened: Screened, rows: NDArray[np.int64]) -> None:
        """Take rows that are no candidates out of what is said."""
        if not len(rows):
            return
        if screened.counts.shape[1]:
            for counts, seen in zip(screened.counts, screened.seen, strict=True):
                np.subtract.at(counts, _buckets(seen[rows]), 1)
        screened.scores[:, rows] = screened.seen[:, rows] = MISSING
        screened.sum.values[rows] = MISSING


@dataclass(frozen=True, eq=False)
class _Asked:
    k: int
    name: str
    weights: Vector
    rounded: NDArray[np.int16]
    scale: np.float32
    shift: np.float32
    share: np.float32


def _rounded(weights: Vector) -> tuple[NDArray[np.int16], np.float32]:
    """Return weights as whole numbers, whose sums an int32 holds, and what one of them is."""
    highest, total = (float(part) for part in (np.abs(weights).max(), np.abs(weights).sum()))
    scale = max(highest / HIGHEST_WEIGHT, total * HIGHEST / HIGHEST_SUM, 1e-30)
    return np.rint(weights / np.float32(scale)).astype(np.int16), np.float32(scale)


def _buckets(values: Vector) -> NDArray[np.int32]:
    with np.errstate(invalid="ignore"):
        places = np.nan_to_num((EDGE - values) * PER_UNIT).clip(0, N_BUCKETS - 1)
    buckets: NDArray[np.int32] = places.astype(np.int32)
    return buckets


def _blocks(sizes: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Return part, first and last row in it, and row of all, of each block of images."""
    found, start = [], 0
    for part, size in enumerate(sizes):
        found += [
            (part, first, min(first + BLOCK, size), start + first)
            for first in range(0, size, BLOCK)
        ]
        start += size
    return found
