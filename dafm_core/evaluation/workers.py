"""The parts of a design, one after the other or in processes of their own: the same bits.

Every process works with one thread, and so does the one that does without others, since a sum that
is shared among threads comes out differently in its last bits.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from dafm_core.errors import FuserError
from dafm_core.ground.threads import one_thread
from dafm_core.store.stack import SimilarityStack

Item = TypeVar("Item")
Result = TypeVar("Result")

FEW_CELLS: Final = 10_000_000
"""Scores of a stack below which starting a process costs more than it saves."""
THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def n_workers_for(stack: SimilarityStack, n_parts: int) -> int:
    """Return how many processes are worth starting: one for a small stack, or one in memory."""
    on_disk = all(_file_of(matrix) is not None for matrix in stack.matrices)
    if stack.n_cells < FEW_CELLS or not on_disk:
        return 1
    return min(n_parts, _n_cores())


def in_workers(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    n_workers: int,
    meanwhile: Callable[[], object] | None = None,
) -> Iterator[Result]:
    """Yield the function's results in the order of the items.

    Parameters
    ----------
    function : callable
        With more than one worker: of a module, so that another process finds it.
    n_workers : int
        Processes; one stands for this one.
    meanwhile : callable, optional
        What this process does while others begin.

    Raises
    ------
    FuserError
        If a process ends before its work, as it does where memory runs out.
    """
    if min(n_workers, len(items)) < 2:
        if meanwhile is not None:
            meanwhile()
        with one_thread():
            yield from map(function, items)
        return
    ForkingPickler.register(np.memmap, _reduce_map)
    with (
        _environment(dict.fromkeys(THREAD_VARIABLES, "1")),
        ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool,
    ):
        try:
            results = pool.map(_Alone(function), items)
            try:
                if meanwhile is not None:
                    meanwhile()
            except BaseException:  # who waits for an error need not wait for the work
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            yield from results
        except BrokenProcessPool:
            raise FuserError(
                f"a process that fits fusers ended before its work; {n_workers} may need more "
                "memory than there is. Use fewer: --workers 1."
            ) from None


class _Alone:
    """Calls a function under one thread, in another process."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, item: Any) -> Any:
        with one_thread():
            return self.function(item)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _file_of(matrix: Any) -> Path | None:
    """Return the file that an array is the whole of, or None."""
    if isinstance(matrix, np.memmap) and isinstance(matrix.base, mmap.mmap) and matrix.filename:
        return Path(matrix.filename)
    return None


def _reduce_map(matrix: Any) -> Any:
    """Send the name of a file to the other process instead of its content."""
    path = _file_of(matrix)
    if path is None:
        return np.asarray(matrix).__reduce__()
    return _open_map, (path, matrix.dtype.str, matrix.shape, matrix.offset)


def _open_map(path: Path, dtype: str, shape: tuple[int, ...], offset: int) -> Any:
    return np.memmap(path, dtype, "r", offset, shape)
