"""Which parts of a store were found to match their checksums: a memory, so that it is paid once.

The memory is a file of the cache, never of the store, which may be read only or shared. A part is
known by the size, the time of change and the number (inode) of each of its files: a file with other
ones is read again. Whether content is right is not decided here but in ``store.py``.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from dafm_core.ground.files import cache_folder, write_json
from dafm_core.ground.sources import source_json

logger = logging.getLogger(__name__)

Signature: TypeAlias = dict[str, list[int]]

LONG = 1.0
"""Seconds that a check may take without a word."""
SETTLED_NS = 2_000_000_000
"""Age, in nanoseconds, below which a file may change again without another time of change."""


def signature(folder: Path, names: Iterable[str]) -> Signature:
    """Return size, time of change and number of the files of one part; of those there are."""
    found = {}
    for name in sorted(names):
        with suppress(FileNotFoundError):
            stat = (folder / name).stat()
            found[name] = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    return found


def n_bytes(seen: Signature) -> int:
    """Return the size of the files of a part."""
    return sum(size for size, _, _ in seen.values())


def known(folder: Path) -> Signature:
    """Return the files of a part that were found to match, as they were then."""
    try:
        memory = source_json(_memory(folder))
    except (OSError, ValueError):
        return {}  # nothing, or nothing readable, is remembered
    files = memory.get("files") if isinstance(memory, dict) else None
    return files if isinstance(files, dict) else {}


def is_remembered(folder: Path, seen: Signature) -> bool:
    """Whether a part was checked when its files were these."""
    return bool(seen) and known(folder) == seen


def settled(seen: Signature) -> Signature:
    """Return the files that were not changed just now."""
    limit = time.time_ns() - SETTLED_NS
    return {name: stat for name, stat in seen.items() if stat[1] < limit}


def remember(folder: Path, seen: Signature) -> None:
    """Keep that these files match; not of files changed just now, nor where the cache is not
    writable.
    """
    if settled(seen) == seen:
        with suppress(OSError):
            write_json(_memory(folder), {"part": str(folder.resolve()), "files": seen})


def say_cost(where: Path, n_bytes: int, started: float) -> None:
    """Say what a check took since ``started``, of ``time.perf_counter``, where that was long."""
    seconds = time.perf_counter() - started
    level = logging.WARNING if seconds > LONG else logging.INFO
    if n_bytes:
        logger.log(
            level,
            "%s: %s MB were checked against their checksums in %.1f s; not again while the files "
            "stay as they are (--no-verify leaves it out).",
            where,
            f"{n_bytes / 1e6:,.0f}",
            seconds,
        )


def _memory(folder: Path) -> Path:
    place = str(folder.resolve()).encode("utf-8", "surrogateescape")
    return cache_folder() / "checked" / f"{hashlib.sha256(place).hexdigest()[:32]}.json"
