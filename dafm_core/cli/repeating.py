"""What ``dafm compare --repeat`` needs: the command that made a file, and what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dafm_core.cli.exporting import EXPORTS
from dafm_core.errors import AlignmentError, OptionError
from dafm_core.ground.sources import source_json


def said_before(args: argparse.Namespace) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return the arguments that made the file of --repeat, and what the file holds.

    Stores may be named anew, because they move; exports are those asked for now. Whatever else is
    given beside --repeat is refused: it would be another comparison.
    """
    from dafm_core.cli.main import build_parser

    before = _read(args.repeat)
    first = before["comparisons"][0] if "comparisons" in before else before
    words = _words(first)
    if not words or words[0] != "compare":
        made = f"dafm {words[0]}" if words else "Python, or an older dafm"
        raise OptionError(
            f"{args.repeat}: expected a file of dafm compare --json, got one made by {made}. "
            "It says no command that could be repeated."
        )
    parser = build_parser("compare")
    defaults = vars(parser.parse_args(["a-store"]))
    free = {"stores", "repeat", "run", "command", "typed", "level", "by_type", *EXPORTS}
    other = [n for n, value in vars(args).items() if n not in free and value != defaults[n]]
    if other:
        raise OptionError(
            f"dafm compare --repeat: expected no other option, got --{other[0].replace('_', '-')}. "
            "Only stores and files to write go with it."
        )
    again = parser.parse_args(words[1:])
    for name in ("by_type", *EXPORTS):
        setattr(again, name, getattr(args, name))
    again.stores = args.stores or again.stores
    again.typed = words
    return again, before


def _words(record: Mapping[str, Any]) -> list[str]:
    """Return the command that a record says, or nothing where it says none."""
    provenance = record.get("provenance")
    words = provenance.get("arguments") if isinstance(provenance, dict) else None
    is_said = isinstance(words, list) and all(isinstance(word, str) for word in words)
    return words if is_said and words else []


def say_whether_it_agrees(path: Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Print what became of every number; raise AlignmentError where one differs as printed."""
    from dafm_core.comparison.repeat import repeated
    from dafm_core.reporting.saying import say

    found = repeated(before, after)
    say()
    for line in found.lines:
        say(line)
    if not found.agrees:
        raise AlignmentError(
            f"{path}: {len(found.differing)} of {found.n_numbers} numbers came out differently, "
            f"the first at {found.differing[0]}. What else has changed is said above."
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = source_json(path)
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: expected a file of --json ({str(error)[:120]}).") from None
    parts = found.get("comparisons", [found]) if isinstance(found, dict) else []
    if (
        not isinstance(parts, list)
        or not parts
        or not all(isinstance(part, dict) and "rows" in part for part in parts)
    ):
        raise OptionError(f"{path}: expected what dafm compare --json writes, got other JSON.")
    return dict(found)


def _is_comparison(part: object) -> bool:
    return isinstance(part, dict) and "rows" in part
