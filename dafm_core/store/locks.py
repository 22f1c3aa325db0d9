"""Who is at work in a store: a lock per provider, and a way to know that nobody is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from dafm_core.errors import StoreError

try:
    import fcntl
except ImportError:  # not POSIX: a folder is then never removed
    fcntl = None  # type: ignore[assignment]


@contextmanager
def writing(folder: Path, name: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of one part of a store; the system lets it go when a process dies.

    Parameters
    ----------
    folder : Path
        The store.
    name : str
        Of the part, e.g. a provider.
    wait : bool
        Wait for another process instead of raising.

    Raises
    ------
    StoreError
        If another process holds it; says which, and since when.
    """
    from filelock import FileLock, Timeout

    path = folder / f".{name}.lock"
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"{folder}: another process is writing {name!r}{_owner(path)}. Wait for it."
        ) from None
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be written ({error.strerror or error}). Choose another folder."
        ) from None
    try:
        with suppress(OSError):
            path.write_text(f"{os.getpid()} {int(time.time())}")
        yield
    finally:
        lock.release()


class Visit:
    """A process at work somewhere in a store; many may be at once."""

    def __init__(self, folder: Path) -> None:
        path = folder / ".visitors.lock"
        try:
            while True:
                folder.mkdir(parents=True, exist_ok=True)
                self._file = path.open("a")
                if fcntl is not None:
                    fcntl.flock(self._file, fcntl.LOCK_SH)
                if _is_open(self._file, path):
                    return
                self._file.close()  # somebody removed the folder while this one waited
        except FileNotFoundError:
            raise StoreError(f"{folder}: was removed by another process. Try again.") from None
        except OSError as error:
            raise StoreError(
                f"{folder}: cannot be written ({error.strerror or error}). Choose another folder."
            ) from None

    def is_alone(self) -> bool:
        """Whether nobody else is at work; nobody can begin until this visit ends."""
        if fcntl is None:
            return False
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def end(self) -> None:
        """Let others know."""
        self._file.close()


def _is_open(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _owner(path: Path) -> str:
    try:
        process, since = path.read_text().split()
        return f" (process {process}, since {time.strftime('%H:%M', time.localtime(int(since)))})"
    except (OSError, ValueError):
        return ""
