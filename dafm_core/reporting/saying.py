"""Sentences, paths and JSON on standard output; rich is loaded only where that is a terminal.

A command that writes one line to a file or a pipe, many times a script, starts sooner without it.
Every text goes through ``printable`` and is taken as it is, never as rich's markup.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from dafm_core.ground.printable import printable, printable_json

ASK_RICH: Final = frozenset({"FORCE_COLOR", "TTY_COMPATIBLE"})
"""Variables by which rich may take for a terminal what is none."""


def say(text: str = "", *, style: str = "") -> None:
    """Print a sentence or a path on one line; the terminal folds it where it must."""
    _write(printable(text), style=style, soft_wrap=True)


def say_all(sentences: Sequence[str], *, style: str = "") -> None:
    """Print sentences, each folded between words at the width of the terminal."""
    for sentence in sentences:
        _write(printable(sentence), style=style, soft_wrap=False)


def print_notes(notes: Sequence[str]) -> None:
    """Print what a dataset names in vain, before any number that depends on it."""
    for line in notes:
        say(f"note: {line}")


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Print JSON; a NaN or an infinity is a ValueError, because other programs cannot read it."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    _write(printable_json(text), style="", soft_wrap=True)


def _write(text: str, *, style: str, soft_wrap: bool) -> None:
    if soft_wrap and not sys.stdout.isatty() and ASK_RICH.isdisjoint(os.environ):
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            go_on_unread()
        return
    from rich.text import Text

    from dafm_core.reporting.terminal import console_of

    console_of().print(Text(text, style=style), soft_wrap=soft_wrap)


def go_on_unread() -> None:
    """Go on where the reader has left, as ``head`` does: files that were asked for are written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
