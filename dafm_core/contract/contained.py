"""Other people's code, run so that it can neither end the process nor spoil its output.

What a plugin raises reaches its caller as an ordinary exception, which names what was raised. A
crash of the interpreter and code that never returns cannot be caught in the same process, and are
not caught here.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any


@contextmanager
def contained() -> Iterator[None]:
    """Run a plugin's code; what it prints goes to standard error.

    Raises
    ------
    RuntimeError
        In place of SystemExit, of a KeyboardInterrupt that no key has caused, and of whatever else
        is no Exception.
    KeyboardInterrupt
        If a user has pressed Ctrl-C, or the process is asked to stop.
    """
    with _noting_interrupts() as interrupts:
        try:
            with redirect_stdout(sys.stderr):
                yield
        except Exception:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and (
                interrupts is None or interrupts or type(error) is not KeyboardInterrupt
            ):
                raise
            words = " ".join(str(error).split())
            raise RuntimeError(
                f"it raised {type(error).__name__}{f' ({words})' if words else ''}, which would "
                "end the command"
            ) from error


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
