"""Files that are whole or not there: the one way in which everything here is written and read.

A writer works on a temporary name beside the goal; only complete content gets the goal's name. What
a killed writer left under its temporary name is removed by the next one of the same goal.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from dafm_core.errors import DatasetError
from dafm_core.ground.goals import goal_of, is_stream
from dafm_core.ground.sources import ordinary, source_text


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; what was written replaces ``path``, or nothing does.

    The content is on disk before it gets its name, so that a reader, and whoever comes after a
    crash, sees the old file or the new one and never half of one.

    Parameters
    ----------
    path : path
        The goal; missing folders are made. Its suffix is kept, for writers that go by it. A link
        is followed; a device or a named pipe gets the content and stays what it is.

    Raises
    ------
    OSError
        If the file cannot be written; the temporary file is removed.
    """
    path = goal_of(path)
    if is_stream(path):
        with _passing_on(path) as temporary:
            yield temporary
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
    temporary = _temporary(path, os.getpid())
    _remove_abandoned(path)
    try:
        try:
            yield temporary
        except Exception as error:
            _raise_system_error(error, temporary, path)
            raise
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if path.is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_with(path: str | Path, beside: Mapping[Path, str | None]) -> Iterator[Path]:
    """As :func:`replacing`, for a file that means something only with the texts beside it.

    Where one of these changes, the old file goes before it does and the new one comes after: what
    is found under ``path`` always belongs to what stands beside it, whenever a writer is killed.

    Parameters
    ----------
    path : path
    beside : mapping of Path to str or None
        The text of each companion; None where there is to be none.
    """
    with ExitStack() as files:  # the last to be opened gets its name first, ``path`` at the end
        temporary = files.enter_context(replacing(path))
        changed = {place: text for place, text in beside.items() if not _holds(place, text)}
        for place, text in changed.items():
            if text is not None:
                files.enter_context(replacing(place)).write_text(text, encoding="utf-8")
        yield temporary
        if changed and not is_stream(path):
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            goal_of(path).unlink(missing_ok=True)
        for place, text in changed.items():
            if text is None:
                place.unlink(missing_ok=True)


def _holds(place: Path, text: str | None) -> bool:
    """Whether a file has this text, or is not there where there is to be none."""
    if text is None:
        return not os.path.lexists(place)
    try:
        return ordinary(place).read_bytes() == text.encode()
    except OSError:
        return False


@contextmanager
def _passing_on(stream: Path) -> Iterator[Path]:
    """Give a temporary path to write to; what was written goes into a device or a named pipe."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"content{stream.suffix}"
        yield temporary
        # a pipe that nobody reads refuses at once instead of waiting for ever
        handle = os.open(stream, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
        if hasattr(os, "set_blocking"):
            os.set_blocking(handle, True)
        with temporary.open("rb") as source, os.fdopen(handle, "wb") as target:
            shutil.copyfileobj(source, target)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: str | Path, text: str) -> Path:
    """Write text as UTF-8, whole or not at all; return the path."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def cache_folder() -> Path:
    """Return the folder for what can be made again: ``DAFM_CACHE``, by default ~/.cache/dafm."""
    return Path(os.environ.get("DAFM_CACHE") or "~/.cache/dafm").expanduser()


def sha256_of(path: str | Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits."""
    with ordinary(path).open("rb") as file:
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
        lines = source_text(path).split("\n")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected a text file of ids, one a line ({error}).") from None
    ids = tuple(line.strip() for line in lines if line.strip())
    if not ids:
        raise DatasetError(f"{path}: expected ids, one a line; the file is empty.")
    return ids


def reserve(file: BinaryIO, size: int) -> None:
    """Take room for a file of ``size`` bytes, so that a disk too small says so before the work."""
    file.flush()
    if hasattr(os, "posix_fallocate"):
        if size:
            os.posix_fallocate(file.fileno(), 0, size)
    else:
        os.ftruncate(file.fileno(), size)


def _raise_system_error(error: Exception, temporary: Path, path: Path) -> None:
    """Raise OSError for the goal where the system refused to write it, in whatever type it came."""
    if isinstance(error, OSError) and error.errno is not None:
        number = error.errno if error.filename in (None, str(temporary), temporary) else None
    else:
        code = re.search(r"\(os error (\d+)\)", str(error))  # as libraries in Rust say it
        number = int(code[1]) if code else None
    if number is not None:
        raise OSError(number, os.strerror(number), str(path)) from error


def _temporary(path: Path, process: int | str) -> Path:
    """Return where one process of this machine writes what will replace ``path``.

    The name is short whatever the goal's is, so that a goal of 255 bytes can be written too.
    """
    import socket

    goal = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    machine = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:64]
    return path.with_name(f".dafm-{goal}-{machine}-{process}{path.suffix[:32]}")


def _remove_abandoned(path: Path) -> None:
    """Remove temporary files for the same goal whose process, on this machine, is gone."""
    start, _, end = _temporary(path, "*").name.partition("*")
    for abandoned in path.parent.glob(f"{start}*"):
        process = abandoned.name[len(start) :].removesuffix(end)
        if process.isdecimal() and not _is_running(int(process)):
            abandoned.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # a signal of number 0 would end it there
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # somebody else's
    return True


def _sync_folder(folder: Path) -> None:
    """Put a rename on disk, where the system lets a folder be opened for that."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
