"""Rows ranked in NumPy, by counting or by sorting; the same as machine code: ``rank_loops.py``."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.float_bits import HALF_LEAVES_OUT, MAGNITUDE
from dafm_core.ground.ordering import descending_keys

COUNTED_FROM: Final = 4096
"""Cells of a row from which the numbers of half precision are few beside them."""
COUNTED_TO: Final = 1 << 22
"""Cells of a row up to which float32 holds every mean rank."""
UNUSED: Final = 102 << 10
"""In the order of the other bits: numbers nearer to 0 than any of half precision."""
EXCLUDED: Final = (int(np.float32(-np.inf).view(np.int32) ^ MAGNITUDE) >> 13) + UNUSED
"""What -inf is in that order."""


def write_ranks(block: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Rank rows (R, N) without NaN, by sorting numbers that hold a score and its place at once.

    The score's bits, made ascending for the best first, stand above the column's.
    """
    n_rows, n = block.shape
    block = block + np.float32(0)  # no -0, which is level with 0
    if COUNTED_FROM <= n < COUNTED_TO and all(
        _counted(row, ranks) for row, ranks in zip(block, out, strict=True)
    ):
        return
    keys = descending_keys(block)
    keys |= np.arange(n, dtype=np.uint64)
    keys.sort(axis=1)
    cells = keys.astype(np.uint32).astype(np.int64) + np.arange(n_rows)[:, None] * n
    keys >>= np.uint64(32)
    starts = np.ones(keys.shape, bool)
    np.not_equal(keys[:, 1:], keys[:, :-1], out=starts[:, 1:])
    out.reshape(-1)[cells] = _mean_ranks(starts)


def _counted(row: NDArray[np.float32], out: NDArray[np.float32]) -> bool:
    """Rank a row (N,) of half precision by counting each of its numbers; say whether it is one.

    It is one where 13 bits say nothing, and there are not many more numbers than candidates.
    """
    bits = row.view(np.int32)
    if np.bitwise_or.reduce(bits) & HALF_LEAVES_OUT:
        return False
    order = bits >> 31
    order &= MAGNITUDE
    order ^= bits  # ascends as the scores do
    order >>= 13
    order -= order.clip(-UNUSED, UNUSED)  # between 0 and the smallest number there is none
    if np.count_nonzero(order) < np.count_nonzero(row):
        return False
    excluded = order == EXCLUDED
    if excluded.any():
        order[excluded] = order.max()
        order[excluded] = order.min() - 1
    np.subtract(order.max(), order, out=order)  # from 0 for the highest
    counts = np.bincount(order)
    used = np.flatnonzero(counts)
    some = counts[used]
    # The last of those that are level, less half of the others; exact: they are few enough.
    means = np.empty(len(counts), np.float32)
    means[used] = np.cumsum(some) - (some - 1) * 0.5
    np.take(means, order, out=out, mode="clip")
    return True


def _mean_ranks(starts: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the ranks of ordered rows (R, N), in which a run of equal scores starts at each True;
    a run shares its mean rank.
    """
    n = starts.shape[1]
    if starts.all():
        return np.broadcast_to(np.arange(1, n + 1, dtype=np.float32), starts.shape)
    first = np.flatnonzero(starts)
    last = np.append(first[1:], starts.size)  # a run is first[i]:last[i] of all rows together
    mean_rank = (first + last + 1) / 2 - first // n * n
    return np.repeat(mean_rank.astype(np.float32), last - first).reshape(starts.shape)
