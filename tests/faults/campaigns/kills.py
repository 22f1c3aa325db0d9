"""Processes that kill themselves (SIGKILL) before an executed line of the code that writes; then
the same command again, in a process of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.faults.campaigns.actions import ACTIONS
from tests.faults.campaigns.outcome import Outcome
from tests.faults.forking import forked, wait
from tests.faults.killing import HOME, WRITING

PATIENCE: Final = 600.0
"""Seconds for a command on a busy machine."""


def _killed_at(line: int | None, action: Callable[[], None]) -> int:
    """Run an action in this process, which ends before the given line of the code that writes.

    Without a line it is run to its end. Returns how many lines were executed.
    """
    n_lines = 0

    def trace(frame, event, argument):
        nonlocal n_lines
        if event == "call":
            name = frame.f_code.co_filename
            watched = name.startswith(str(HOME)) and name[len(str(HOME)) + 1 :].startswith(WRITING)
            return trace if watched else None
        if event == "line":
            if n_lines == line:
                os.kill(os.getpid(), signal.SIGKILL)
            n_lines += 1
        return trace

    sys.settrace(trace)
    action()
    sys.settrace(None)
    return n_lines


def by_line(home: Path, *, most: int, kinds: Iterable[str] = ACTIONS) -> Iterator[Outcome]:
    """Kill each command ``most`` times at lines evenly spread, or at every line if it has fewer."""
    for number, kind in enumerate(kinds):
        yield _campaign(home / str(number), kind, most)


class Prepared:
    """A command, what it starts from, and what it gives undisturbed."""

    def __init__(self, home: Path, kind: str) -> None:
        self.kind = kind
        self.command = ACTIONS[kind]
        self.work = home / "work"
        self._ready = home / "ready"
        self._ready.mkdir(parents=True)
        for step in self.command.before:
            ending = forked(lambda step=step: step(self._ready), seconds=PATIENCE)
            assert ending.code == 0, ending.err
        self.start()
        ending = forked(self.act, seconds=PATIENCE)
        assert ending.code == 0, ending.err
        self.expected = self.command.result(self.work)

    def start(self) -> None:
        """Make the folder ready once more."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self._ready, self.work)

    def act(self) -> None:
        """Run the command."""
        self.command.action(self.work)

    def judge(self, outcome: Outcome, where: str) -> None:
        """Repeat the command; count whether it gives what it gives undisturbed, and nothing else.

        It may also say, in one line, that there is nothing left to do.
        """
        again = forked(self.act, seconds=PATIENCE)
        try:
            found = self.command.result(self.work)
        except Exception as error:
            outcome.add("lost", f"{where} unreadable: {error}")
            return
        names = found.keys() | self.expected.keys()
        differ = sorted(n for n in names if found.get(n) != self.expected.get(n))
        is_refusal = "dafm_core.errors." in again.err or "the command failed" in again.err
        if "Traceback" in again.err and not is_refusal:
            outcome.add("tracebacks", f"{where} {again.err[-300:]}")
        else:
            outcome.add("lost" if differ else "survived", f"{where} {differ} {again.err[-200:]}")


def _campaign(home: Path, kind: str, most: int) -> Outcome:
    outcome = Outcome(kind, "SIGKILL by executed line")
    prepared = Prepared(home, kind)
    prepared.start()
    counted = forked(
        lambda: print(_killed_at(None, prepared.act), file=sys.stderr), seconds=PATIENCE
    )
    n_lines = int(counted.err.split()[-1])
    for line in range(0, n_lines, -(-n_lines // most)):
        prepared.start()
        ending = forked(lambda: bool(_killed_at(line, prepared.act)), seconds=PATIENCE)  # noqa: B023
        prepared.judge(outcome, f"{kind} at {line}: {ending.err[-200:]}")
    return outcome


def at_random(
    home: Path, *, n_kills: int, seed: int = 0, kinds: Sequence[str] = tuple(ACTIONS)
) -> Outcome:
    """Kill processes from outside at random moments, SIGKILL and SIGTERM in turn."""
    outcome = Outcome("each of these in turn", "SIGKILL and SIGTERM from outside, at random")
    draw = random.Random(seed)
    prepared = {kind: Prepared(home / str(n), kind) for n, kind in enumerate(kinds)}
    for number in range(n_kills):
        kind = kinds[number % len(kinds)]
        prepared[kind].start()
        child = os.fork()
        if child == 0:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            try:
                prepared[kind].act()
            finally:
                os._exit(0)
        time.sleep(draw.uniform(0, 0.15))
        os.kill(child, (signal.SIGKILL, signal.SIGTERM)[(number // len(kinds)) % 2])
        wait(child, 60)
        prepared[kind].judge(outcome, f"{kind}, random {number}")
    return outcome
