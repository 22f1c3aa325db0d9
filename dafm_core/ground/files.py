"""Files that are whole or not there: the one way in which everything here is written and read.

A writer works on a temporary name beside the goal; only complete content gets the goal's name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dafm_core.errors import DatasetError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; what was written replaces ``path``, or nothing does.

    The content is on disk before it gets its name, so that a reader, and whoever comes after a
    crash, sees the old file or the new one and never half of one.

    Parameters
    ----------
    path : path
        The goal; missing folders are made. Its suffix is kept, for writers that go by it.

    Raises
    ------
    OSError
        If the file cannot be written; the temporary file is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: str | Path, text: str) -> Path:
    """Write text as UTF-8, whole or not at all; return the path."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def sha256_of(path: str | Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_ids(path: str | Path) -> tuple[str, ...]:
    """Return the ids that a text file lists, one a line; a byte order mark and blank lines are
    passed over.

    Raises
    ------
    DatasetError
        If the file cannot be read as text, or lists nothing.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected a text file of ids, one a line ({error}).") from None
    ids = tuple(line.strip() for line in lines if line.strip())
    if not ids:
        raise DatasetError(f"{path}: expected ids, one a line; the file is empty.")
    return ids


def _sync_folder(folder: Path) -> None:
    """Put a rename on disk, where the system lets a folder be opened for that."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
