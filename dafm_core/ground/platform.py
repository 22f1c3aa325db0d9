"""What only some operating systems offer: memory used, advice about mapped memory, a process that
ends with its parent.

Imports that fail elsewhere stand here alone, each with a fallback, so that everything else runs
wherever Python, NumPy and polars do.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

_PR_SET_PDEATHSIG = 1
_MADV_PAGEOUT = 21
"""Of Linux 5.4 and newer, which may refuse it; unlike MADV_DONTNEED it never changes content."""


def peak_memory_bytes() -> int:
    """Return the largest amount of memory this process has had; 0 where nobody counts it."""
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # Linux and the BSDs count in KiB


def page_out(address: int, n_bytes: int) -> None:
    """Advise that mapped memory is not needed soon; its content stays as it is.

    Only whole pages are let go. On Linux; elsewhere nothing happens, and more memory is in use.

    Parameters
    ----------
    address : int
        Where the memory begins, as ``tensor.data_ptr()`` or ``array.ctypes.data`` give it.
    n_bytes : int
    """
    if sys.platform != "linux":
        return
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    if (whole := (address + n_bytes - first) // mmap.PAGESIZE * mmap.PAGESIZE) > 0:
        madvise = ctypes.CDLL(None).madvise
        madvise(ctypes.c_void_p(first), ctypes.c_size_t(whole), ctypes.c_int(_MADV_PAGEOUT))


def end_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent has died; elsewhere than on Linux it lives
    on until it has something to tell.

    Parameters
    ----------
    parent : int
        Its number, which the parent itself has seen.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before that
        os.kill(os.getpid(), signal.SIGKILL)
