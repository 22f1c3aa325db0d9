"""What reads rows and makes channels as machine code, where Numba is installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

from dafm_core.fusion.channels.cell_loops import (
    mean_log_rank,
    write_channels,
    write_known,
    write_log_ranks,
    write_neighbours,
    write_reverse_ranks,
    write_topic_moments,
    write_topics,
)
from dafm_core.fusion.channels.choice_loops import (
    any_marked,
    choose,
    draw_around,
    mark_best,
    mark_hard,
)
from dafm_core.fusion.channels.row_loops import (
    bucket_of,
    collect,
    count_buckets,
    edge_by_sample,
    edge_of,
    entropy,
    find_known_ends,
    missing_places,
    read_rows,
    scaled,
    standard,
    standardise,
    write_shifted,
)
from dafm_core.fusion.channels.share_loops import write_shares
from dafm_core.ground.float_bits import less, order_of, shift_and_divide
from dafm_core.ground.machine_code import machine_code
from dafm_core.ground.product_loops import add_dots_by_fours
from dafm_core.ground.zscore_loops import add_to, divide, find_ends

WORTH_COMPILING: Final = 500
"""Queries from which on machine code repays the second or two that it takes to load it."""


class RowLoops(NamedTuple):
    """Loops of ``row_loops.py``, ``share_loops.py``, ``choice_loops.py`` and ``cell_loops.py``."""

    read_rows: Callable[..., Any]
    write_shares: Callable[..., Any]
    choose: Callable[..., Any]
    mark_hard: Callable[..., Any]
    draw_around: Callable[..., Any]
    write_channels: Callable[..., Any]


@cache
def row_loops() -> RowLoops | None:
    """Return the loops as machine code, or None where Numba is missing or turned off."""
    readers = (order_of, missing_places, find_ends, find_known_ends, standardise, entropy)
    firsts = (bucket_of, count_buckets, edge_of, collect, edge_by_sample)
    ranks = (mean_log_rank, write_log_ranks, write_reverse_ranks)
    topics = (write_topic_moments, write_topics)
    exact = (write_shifted, shift_and_divide, less, standard, scaled)
    read = machine_code(read_rows, *readers, *firsts, exact=exact)
    shares = machine_code(write_shares, add_dots_by_fours)
    first = machine_code(choose)
    hard = machine_code(
        mark_hard,
        *(mark_best, bucket_of, count_buckets, edge_of, collect),
        exact=(add_to, divide, scaled),
    )
    draw = machine_code(draw_around, any_marked)
    writers = (*ranks, *topics, write_known, write_neighbours, bucket_of)
    write = machine_code(write_channels, *writers, exact=(scaled,))
    if read and shares and first and hard and draw and write:
        return RowLoops(read, shares, first, hard, draw, write)
    return None
