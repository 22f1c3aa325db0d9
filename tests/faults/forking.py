"""Run something in a process of its own at the price of a fork: for kills, crashes and time limits.

The parent has imported everything and has started no threads (polars starts its own with its first
query, and they would not survive a fork), so a child costs milliseconds where a new interpreter
costs a second.
"""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dafm_core

NOT_IMPORTED: Final = ("dafm_core.scaffold.templates", "dafm_core.wrapping.clip")


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Parameters
    ----------
    code : int
        Its exit code; minus the signal that ended it.
    out, err : str
        What it wrote.
    late : bool
        Whether it was ended because its time was over.
    """

    code: int
    out: str
    err: str
    late: bool

    @property
    def is_silent_or_one_line(self) -> bool:
        """Whether standard error holds no more than one line that is no traceback."""
        return len(self.err.strip().splitlines()) <= 1 and "Traceback" not in self.err


def import_everything() -> None:
    """Import every module of core, so that no child has to."""
    for module in pkgutil.walk_packages(dafm_core.__path__, "dafm_core."):
        if not module.name.startswith(NOT_IMPORTED) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def forked(action: Callable[[], Any], *, seconds: float = 60.0) -> Ending:
    """Run ``action`` in a fork of this process; what it returns is its exit code.

    Parameters
    ----------
    action : callable
        An exception that it raises is printed as the interpreter would, and ends in code 1.
    seconds : float
        After them the child is killed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become(action, out.fileno(), err.fileno())
        code, late = wait(child, seconds)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "backslashreplace"))
        return Ending(code, *texts, late)


def wait(child: int, seconds: float) -> tuple[int, bool]:
    """Wait for a child, and kill it when its time is over; return its code, and whether it was."""
    end, pause = time.monotonic() + seconds, 0.0005
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), True


def _become(action: Callable[[], Any], out: int, err: int) -> None:
    """Be the child: run the action, and end without the parent's clean-up."""
    code = 1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0), write_through=True)
        sys.stderr = io.TextIOWrapper(
            os.fdopen(2, "wb", 0), write_through=True, errors="backslashreplace"
        )
        code = action() or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def free_memory_limit(n_bytes: int) -> Callable[[], None]:
    """Return a function that lets this process ask for so many more bytes of memory, no more."""

    def limit() -> None:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        now = pages * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + n_bytes, now + n_bytes))

    return limit
