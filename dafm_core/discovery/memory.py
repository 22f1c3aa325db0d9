"""What plugins described, remembered in the cache as long as they are the same.

A plugin is known by its distribution's version and by the size and time of change of every file of
its package, found without importing it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, version
from pathlib import Path
from typing import Any, Final

from dafm_core.ground.files import cache_folder, write_json
from dafm_core.ground.sources import source_json

MOST_FILES: Final = 5_000
"""Of a package that are looked at: a larger one is known by these."""


def key_of(entry: EntryPoint) -> str:
    """Return a hash of all that a plugin's descriptions depend on."""
    facts = [*_here(), entry.name, entry.value]
    if entry.dist is not None:
        facts += [entry.dist.name, entry.dist.version]
    facts += [fact for place in _places(entry.module) for fact in _seen(place)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@cache
def _here() -> tuple[Any, ...]:
    """Return what the descriptions of every plugin depend on: this Python, this dafm-core."""
    core = Path(__file__).parent.parent
    seen = [fact for room in ("contract", "discovery") for fact in _seen(core / room)]
    return (sys.version, sys.prefix, version("dafm-core"), *seen)


def recall(entry: EntryPoint, key: str) -> dict[str, Any] | None:
    """Return what the plugin answered when it was the same, or None."""
    with suppress(OSError, ValueError):
        known = source_json(_file(entry))
        if isinstance(known, dict) and known.get("key") == key:
            answer = known.get("answer")
            return answer if isinstance(answer, dict) else None
    return None


def remember(entry: EntryPoint, key: str, answer: dict[str, Any]) -> None:
    """Keep an answer; nothing happens where the cache cannot be written."""
    with suppress(OSError, ValueError):
        write_json(_file(entry), {"key": key, "answer": answer})


def _file(entry: EntryPoint) -> Path:
    who = f"{sys.prefix}\n{entry.name}\n{entry.value}".encode("utf-8", "surrogateescape")
    return cache_folder() / "plugins" / f"{hashlib.sha256(who).hexdigest()[:24]}.json"


def _places(module: str) -> list[Path]:
    """Return where the top-level package of a module lies, importing nothing."""
    top = module.partition(".")[0]
    spec = None
    for finder in sys.meta_path:
        with suppress(Exception):
            find = getattr(finder, "find_spec", PathFinder.find_spec)
            spec = spec or find(top, None)
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(place) for place in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin else []


def _seen(place: Path) -> list[Any]:
    """Return path, size and time of change of the Python files at a place."""
    files = [place] if place.is_file() else sorted(_python_files(place))
    seen: list[Any] = []
    for path in files[:MOST_FILES]:
        with suppress(OSError):
            stat = path.stat()
            seen += [str(path), stat.st_size, stat.st_mtime_ns]
    return seen


def _python_files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(root) / file for file in files if file.endswith((".py", ".so", ".pyd")))
