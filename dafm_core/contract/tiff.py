"""What libtiff says of a damaged file: kept for our own error instead of printed.

Pillow decodes compressed TIFF files by that library, which writes errors to the standard error of
the process from C, and gives what it has of a damaged fax. On Linux its error handler is replaced
here; elsewhere it prints as it does.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

LONGEST = 300
"""Bytes of one complaint."""

_thread = threading.local()


@contextmanager
def noting_complaints() -> Iterator[list[str]]:
    """Yield a list that grows with every error that libtiff reports in this thread."""
    _replace_handler()
    complaints: list[str] = []
    _thread.complaints = complaints
    try:
        yield complaints
    finally:
        _thread.complaints = None


@cache
def _replace_handler() -> None:
    """Let libtiff report to this module; it is loaded once Pillow is."""
    if sys.platform != "linux":
        return
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        place = line.partition("/")[2]
        if "/libtiff" in place and ".so" in place:
            ctypes.CDLL(f"/{place}").TIFFSetErrorHandler(_HANDLER)
            return


def _keep(module: bytes | None, words: bytes, arguments: int | None) -> None:
    """Keep an error, given as ``vprintf`` takes it."""
    complaints = getattr(_thread, "complaints", None)
    if complaints is None:
        return
    text = ctypes.create_string_buffer(LONGEST)
    print_to = ctypes.CDLL(None).vsnprintf
    print_to(text, ctypes.c_size_t(LONGEST), ctypes.c_char_p(words), ctypes.c_void_p(arguments))
    complaints.append(text.value.decode(errors="replace"))


_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)(_keep)
"""What libtiff calls; kept here, because it must outlive every call."""
