"""Where output may go: asked before the work, so that nobody computes for hours and then hears no.

Links are followed: what they lead to is replaced, not they. A device or a named pipe is written to
and never replaced.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

STREAM_FOLDERS = ("/dev/fd", "/proc/self/fd")


def goal_of(path: str | Path) -> Path:
    """Return the place that a path leads to, links followed; a stream is named as it was given."""
    path = Path(path)
    return Path(os.path.realpath(path)) if path.is_symlink() and not is_stream(path) else path


def is_stream(path: str | Path) -> bool:
    """Whether a path is a device, a named pipe, or a file that this process has open already."""
    path = Path(path)
    if str(path) in ("/dev/stdout", "/dev/stderr") or str(path.parent) in STREAM_FOLDERS:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def require_writable(path: str | Path, *, folder: bool | None = None) -> None:
    """Raise OSError where a file or folder cannot be written; nothing is left behind.

    Parameters
    ----------
    path : path
        Need not be there, nor the folders above it.
    folder : bool, optional
        Whether it is to be a folder, or a file; either where nothing is said.
    """
    import tempfile

    goal = goal_of(path)
    if is_stream(goal):
        if folder or not os.access(goal, os.W_OK):
            raise _refusal(errno.ENOTDIR if folder else errno.EACCES, path)
        return
    if goal.is_dir() and folder is False:
        raise _refusal(errno.EISDIR, path)
    if goal.is_file() and folder:
        raise _refusal(errno.ENOTDIR, path)
    home = goal if goal.is_dir() else goal.parent
    while not home.exists() and home != home.parent:
        home = home.parent
    try:
        longest = os.pathconf(home, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
        if any(len(os.fsencode(part)) > longest for part in goal.parts):
            raise _refusal(errno.ENAMETOOLONG, path)
        if not home.is_dir():
            raise _refusal(errno.ENOTDIR, path)
        with tempfile.TemporaryFile(dir=home, prefix=".dafm-"):
            pass
    except OSError as error:
        raise _refusal(error.errno or errno.EIO, path) from None


def _refusal(code: int, path: str | Path) -> OSError:
    return OSError(code, os.strerror(code), str(path))
