"""A process of its own for the commands that run models, or read what others wrote, watched by the
one that was started.

What crashes the interpreter, ends it, or never returns cannot be caught in the same process. So the
command forks before it imports anything: the child does the work and tells, through a pipe, which
model it is calling; its parent waits, and says in one line whose call the child did not survive.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Final, NoReturn

from dafm_core.errors import OptionError, ProviderError
from dafm_core.ground.platform import end_with_parent

THREADED: Final = ("polars", "torch")
"""Libraries that have started threads, which a fork would not have."""
RESUME: Final = "Finished blocks are kept: repair it and repeat the command to resume."
ENDED: Final = "\0ended "
"""What the child tells when its command is over, with the exit code."""
GRACE: Final = 5.0
"""Seconds for the child to end once its command is over: threads and processes that a model has
left behind would hold it for ever.
"""
ending: ContextVar[Callable[[int], object]] = ContextVar("ending", default=lambda code: None)
"""Who is told the exit code of a command that is over; by default nobody."""
is_whole_process: ContextVar[bool] = ContextVar("is_whole_process", default=False)
"""Whether the process was started for one command, and ends with it."""
GLANCE: Final = 0.5
"""Seconds between two looks at a child whose own children may hold its pipe."""


def watch_models(what: str, *, seconds: float | None = None, advice: str = RESUME) -> None:
    """Go on in a child process; this one stays here until that ends, and ends as it did.

    Where a process of Python calls a command as a function nothing is forked, and nothing watched.

    Parameters
    ----------
    what : str
        Whose call it is that the child does not survive, where it has told nothing.
    seconds : float, optional
        What one call of a model may take.
    advice : str
        What is said after what the child did not survive.

    Raises
    ------
    OptionError
        For a time limit where nothing can be watched, or no time.
    ProviderError
        In the parent: if a call did not return in time, or ended the process.
    """
    if seconds is not None and not seconds > 0:
        raise OptionError(f"--timeout: expected seconds above 0, got {seconds:g}.")
    if not can_watch():
        if seconds is not None:
            raise OptionError(
                "--timeout: needs the command dafm in a process of its own, on a system with fork."
            )
        return
    child = fork(what, advice)
    if child is not None:
        _end_as(child, seconds)


def can_watch() -> bool:
    """Whether a child could do the work: on a system with fork, in a process without threads that
    has nothing to do afterwards, which the child would do too.
    """
    alone = is_whole_process.get() and sys.modules.keys().isdisjoint(THREADED)
    return alone and hasattr(os, "fork")


def fork(what: str, advice: str) -> Child | None:
    """Return the child in the parent, and None in the child; parameters as watch_models."""
    heard, told = os.pipe()
    parent = os.getpid()
    number = os.fork()
    if number:
        os.close(told)
        return Child(number, heard, what, advice)
    os.close(heard)
    end_with_parent(parent)
    _tell_through(told)
    return None


def _tell_through(pipe: int) -> None:
    """Let whoever calls a model write into the pipe which calls are open, of all threads."""
    from dafm_core.scoring.boundary import announcing

    calls: dict[int, str] = {}
    lock = threading.Lock()

    def announce(words: str) -> None:
        with lock:
            if words:
                calls[threading.get_ident()] = " ".join(words.split())
            else:
                calls.pop(threading.get_ident(), None)
            os.write(pipe, f"{' or '.join(calls.values())}\n".encode())

    announcing.set(announce)
    ending.set(lambda code: os.write(pipe, f"{ENDED}{code}\n".encode()))


class Child:
    """The process that does the work, as its parent sees it.

    Attributes
    ----------
    call : str
        What it is calling, or nothing; several calls, where several threads are at one.
    code : int or None
        The exit code of its command, once that is over.
    """

    def __init__(self, number: int, pipe: int, what: str, advice: str) -> None:
        self.number = number
        self.call = ""
        self.code: int | None = None
        self._what, self._advice = what, advice
        self._pipe = pipe
        self._since = time.monotonic()

    def follow(self, seconds: float | None) -> int | None:
        """Return its exit code, or minus the signal that ended it; None if a call is late."""
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while True:
                left = GLANCE
                if self.code is not None and time.monotonic() > self._since + GRACE:
                    self.end()
                    return self.code
                if seconds is not None and self.call:
                    left = self._since + seconds - time.monotonic()
                    if left <= 0:
                        return None
                if not selector.select(min(left, GLANCE)):
                    done, status = os.waitpid(self.number, os.WNOHANG)
                    if done:
                        return self._ended(status)
                    continue
                part = os.read(self._pipe, 2**16)
                if not part:  # nobody can tell anything any more
                    return self._ended(os.waitpid(self.number, 0)[1])
                *lines, rest = (rest + part).split(b"\n")
                if lines:
                    self._hear(lines[-1].decode(errors="replace"))

    def _hear(self, words: str) -> None:
        self._since = time.monotonic()
        if words.startswith(ENDED):
            self.code, words = int(words.removeprefix(ENDED)), ""
        self.call = words

    def _ended(self, status: int) -> int:
        """Return the code of its command; what a model does after that changes nothing."""
        return os.waitstatus_to_exitcode(status) if self.code is None else self.code

    def end(self) -> None:
        """End it, whatever it is doing."""
        os.kill(self.number, signal.SIGKILL)
        os.waitpid(self.number, 0)

    def is_ours(self, code: int) -> bool:
        """Whether an exit code is the command's own, in whose words all is said already."""
        return code >= 0 and not self.call

    def ended(self, code: int) -> str:
        """Return what is said of a child that did not end by itself."""
        how = how_it_ended(code)
        if self.call or not self._what:
            return f"{self.call or 'the command'}: ended the process ({how}). {self._advice}"
        return f"{self._what}: the process that ran it was ended ({how}). {self._advice}"


def how_it_ended(code: int) -> str:
    """Return an exit code, or the signal whose number it is less than nothing, in words."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _end_as(child: Child, seconds: float | None) -> NoReturn:
    """Be the parent: wait, hand on what the system asks, end as the child has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the child too

    def hand_on(number: int, frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(child.number, number)

    signal.signal(signal.SIGTERM, hand_on)
    code = child.follow(seconds)
    if code is None:
        child.end()
        raise ProviderError(
            f"{child.call}: did not return within {seconds:g} s. Finished blocks are kept: repair "
            "it, or give it longer (--timeout), and repeat the command to resume."
        )
    if not child.is_ours(code):
        raise ProviderError(child.ended(code))
    raise SystemExit(code)
