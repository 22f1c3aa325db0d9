"""Standard output for dafm's own words: what libraries write past Python goes to standard error.

What a plugin prints in Python is turned aside where it is called (``contract/contained.py``). Code
in C, and processes that a plugin starts, write to the file descriptor itself, and could close it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_output() -> Iterator[None]:
    """Print to a copy of descriptor 1, which is standard error meanwhile; nothing where somebody
    else has taken ``sys.stdout``, or one of both is closed.
    """
    before = sys.stdout
    try:
        if not isinstance(before, io.TextIOWrapper) or before.fileno() != 1:
            raise ValueError("somebody else's")
        before.flush()
        ours = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError):
        yield
        return
    stream = os.fdopen(
        ours,
        "w",
        buffering=1 if before.line_buffering else -1,
        encoding=before.encoding,
        errors=before.errors,
    )
    sys.stdout = stream
    try:
        yield
        stream.flush()
    finally:
        sys.stdout = before
        os.dup2(ours, 1)
