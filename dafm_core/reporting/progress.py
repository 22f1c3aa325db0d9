"""How far a command is, a line a minute, where standard error is a file; bars are in
``terminal.py``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dafm_core.ground.printable import printable

INTERVAL: Final = 60.0
"""Seconds between two lines."""


@dataclass
class ProgressLines:
    """Says a line a minute: what is being done, how far it is, and how long the rest will take.

    Parameters
    ----------
    clock : callable
        Seconds from any start.
    """

    clock: Callable[[], float] = time.monotonic
    _begun: dict[str, tuple[float, int]] = field(default_factory=dict, init=False)
    _said: float | None = field(default=None, init=False)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of ``done`` of ``total``, and say so if a minute has gone by."""
        now = self.clock()
        start, done_before = self._begun.setdefault(stage, (now, done))
        if self._said is None:
            self._said = now
        if now - self._said < INTERVAL:
            return
        self._said = now
        share = f" ({100 * done / total:.0f} %)" if total else ""
        left = ""
        if done_before < done < total:
            left = f", {_duration((now - start) * (total - done) / (done - done_before))} left"
        text = f"dafm: {printable(stage)}: {done:,} of {total:,}{share}{left}"
        print(text, file=sys.stderr, flush=True)  # noqa: T201  # a log, which rich would fold


def _duration(seconds: float) -> str:
    """Return a duration in words.

    Examples
    --------
    >>> [_duration(s) for s in (20, 150, 8000)]
    ['under a minute', '2 min', '2 h 13 min']
    """
    minutes = int(seconds // 60)
    if not minutes:
        return "under a minute"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
