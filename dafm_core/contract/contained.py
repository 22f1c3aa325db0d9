"""Other people's code, run so that it can neither end the process nor spoil what it shares.

What a plugin raises reaches its caller as an ordinary exception, which names what was raised. A
crash of the interpreter and code that never returns cannot be caught in the same process, and are
not caught here.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO, cast


@contextmanager
def contained() -> Iterator[None]:
    """Run a plugin's code; what it prints goes to standard error.

    The working directory, the limit of recursion and how NumPy takes floating-point errors are
    afterwards what they were. A copy of the process that the code has made, and that comes back
    here, is ended: two would do the same work, and tidy up after each other.

    Raises
    ------
    RuntimeError
        In place of SystemExit, of a KeyboardInterrupt that no key has caused, and of whatever else
        is no Exception.
    KeyboardInterrupt
        If a user has pressed Ctrl-C, or the process is asked to stop.
    """
    process = os.getpid()
    with _noting_interrupts() as interrupts:
        try:
            with _kept_state(), redirect_stdout(cast(TextIO, _Unclosable(sys.stderr))):
                yield
        except Exception:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and (
                interrupts is None or interrupts or type(error) is not KeyboardInterrupt
            ):
                raise
            raise RuntimeError(
                f"it raised {type(error).__name__}{_said(error)}, which would end the command"
            ) from error
        finally:
            if os.getpid() != process:
                os._exit(0)


def _said(error: BaseException) -> str:
    """Return what an error says, in brackets; nothing where it is silent, or fails even at that."""
    with suppress(Exception):
        if words := " ".join(str(error).split()):
            return f" ({words})"
    return ""


class _Unclosable:
    """A stream that is not foreign code's to close."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def close(self) -> None:
        """Do nothing."""


@contextmanager
def _kept_state() -> Iterator[None]:
    """Put back what belongs to the whole process, and what dafm's own code relies on."""
    with ExitStack() as exits:
        with suppress(OSError):  # the folder that this process works in may be gone
            exits.callback(_go_back, Path.cwd())
        exits.callback(sys.setrecursionlimit, sys.getrecursionlimit())
        exits.callback(_put_back_paths, tuple(sys.path))
        if (numpy := sys.modules.get("numpy")) is not None:
            exits.enter_context(numpy.errstate())
        yield


def _put_back_paths(before: tuple[str, ...]) -> None:
    """Let Python find what it found before; what a plugin has added stays, for it may need it."""
    now = sys.path if isinstance(sys.path, list) else []
    sys.path = [*now, *(path for path in before if path not in now)]


def _go_back(folder: Path) -> None:
    with suppress(OSError):
        os.chdir(folder)


@contextmanager
def _noting_interrupts() -> Iterator[list[int] | None]:
    """Yield a list that grows with each Ctrl-C; None where signals do not reach this thread."""
    interrupts: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        interrupts.append(number)
        if callable(before):
            before(number, frame)

    try:
        signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread
        yield None
        return
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
