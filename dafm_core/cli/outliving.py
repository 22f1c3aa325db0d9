"""A service that outlives its models: after one has ended the process, it answers again without it.

The process that was started keeps the port, waits, and starts the one that answers; see
``watching.py`` for how it knows whose call that did not survive.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from dafm_core.cli.watching import Child, can_watch, fork, how_it_ended
from dafm_core.errors import ProviderError

ADVICE: Final = "Start it again."
ASKED: Final = re.compile(r"provider '([^']+)' at a query")
"""What the call of a model is told as, see ``search/calling.py``."""


def outlive_models() -> dict[str, str]:
    """Go on in a child process, and in another one whenever a model has ended the last.

    Requests that were at work then are lost; those that come until the next child listens wait at
    the port. Where a process of Python calls a command as a function nothing is forked.

    Returns
    -------
    dict of str to str
        In each child: models to do without, and why.

    Raises
    ------
    ProviderError
        In the parent: if a child is ended otherwise than by a model that was asked.
    """
    without: dict[str, str] = {}
    while can_watch():
        child = fork("dafm serve", ADVICE)
        if child is None:
            os.setpgid(0, 0)  # Ctrl-C reaches it through its parent alone, and once
            break
        with _handing_on(child) as asked_to_stop:
            code = child.follow(None)
        assert code is not None  # without a limit nothing is late
        if child.is_ours(code):
            raise SystemExit(code)
        found = ASKED.findall(child.call)
        if asked_to_stop or not found:
            raise ProviderError(child.ended(code))
        why = f"ended the process ({how_it_ended(code)}) at an earlier query"
        without |= dict.fromkeys(found, f"{why}; left out until dafm serve is started again")
        print(
            f"dafm: {child.call}: ended the process ({how_it_ended(code)}), and with it the "
            f"requests at work. Answering again without {', '.join(found)}: repair it, and start "
            "dafm serve again.",
            file=sys.stderr,
            flush=True,
        )
    return without


@contextmanager
def _handing_on(child: Child) -> Iterator[list[int]]:
    """Hand on what the system asks to the child; what was asked is in the list."""
    asked: list[int] = []

    def hand_on(number: int, frame: object) -> None:
        asked.append(number)
        with suppress(ProcessLookupError):
            os.kill(child.number, number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
