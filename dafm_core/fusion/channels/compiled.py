"""What reads rows and makes channels as machine code, where Numba is installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from dafm_core.fusion.channels.cell_loops import (
    choose,
    mean_log_rank,
    reverse_rank,
    topic_moments,
    write_channels,
    write_known,
    write_log_ranks,
    write_neighbours,
)
from dafm_core.fusion.channels.row_loops import (
    bucket_of,
    collect,
    count_buckets,
    edge_by_sample,
    edge_of,
    entropy,
    less,
    missing_places,
    read_rows,
    shift_and_divide,
    standard,
    standardise,
)
from dafm_core.ground.machine_code import machine_code


class RowLoops(NamedTuple):
    """Loops of ``row_loops.py`` and ``cell_loops.py``."""

    read_rows: Callable[..., Any]
    choose: Callable[..., Any]
    write_channels: Callable[..., Any]


@cache
def row_loops() -> RowLoops | None:
    """Return the loops as machine code, or None where Numba is missing or turned off."""
    readers = (missing_places, standardise, entropy, count_buckets)
    firsts = (edge_of, collect, edge_by_sample)
    writers = (mean_log_rank, write_log_ranks, reverse_rank, topic_moments, write_known)
    read = machine_code(
        read_rows, *readers, *firsts, exact=(shift_and_divide, less, standard, bucket_of)
    )
    first = machine_code(choose)
    write = machine_code(write_channels, *writers, write_neighbours, exact=(bucket_of,))
    return RowLoops(read, first, write) if read and first and write else None
