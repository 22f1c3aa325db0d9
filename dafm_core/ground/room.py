"""Arrays too large to be sure of memory for them: kept in a file without a name.

The system writes such a file to disk where it needs the memory for something else, and forgets it
when the process ends, however it ends.
"""

from __future__ import annotations

import math
import tempfile
from contextlib import suppress
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dafm_core.ground.files import reserve

IN_MEMORY: Final = 128 << 20
"""Bytes up to which an array is ordinary memory."""
ONE_OF_MANY: Final = 1 << 20
"""The same, of an array that is kept beside others of its kind."""


def empty(
    shape: tuple[int, ...], dtype: DTypeLike, *, in_memory: int | None = None
) -> NDArray[Any]:
    """Return an array to be filled, as ``np.empty`` does; a large one lies in a temporary file
    (in ``TMPDIR``), where the disk has room for it.

    Parameters
    ----------
    in_memory : int, optional
        Bytes up to which it is ordinary memory, by default ``IN_MEMORY``: fewer for one of many.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > (IN_MEMORY if in_memory is None else in_memory):
        with suppress(OSError), tempfile.TemporaryFile() as file:
            reserve(cast(BinaryIO, file), size)
            return np.memmap(file, dtype, "r+", shape=shape)
    return np.empty(shape, dtype)
