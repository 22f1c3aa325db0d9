"""What a killed process leaves behind, found without killing one thousand processes.

``states`` runs an action once and looks at its folder before every executed line of the code that
writes. What is on disk at that moment is what ``kill -9`` at that line would leave: bytes that are
still in the process are not in the folder, and locks are not held in a copy. That this is so is
itself a test, against processes that really end (``test_kills.py``).

Two more kinds of state come from these. *Torn*: a file that grew between two lines, cut in the
middle of what was added; a rename tears nothing. *Power*: every file as it was when it was last put
on disk with ``os.fsync``, empty where it never was, under the names of the moment.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import dafm_core

HOME = Path(dafm_core.__file__).parent
WRITING = (
    "store/",
    "ground/files.py",
    "ground/blocks.py",
    "fusion/saving.py",
    "formats/runs.py",
    "formats/submission.py",
    "formats/fitted.py",
    "scoring/",
    "search/building.py",
    "search/parts.py",
    "search/settling.py",
    "search/bank_queries.py",
    "search/large.py",
    "search/state.py",
    "search/manifest.py",
    "serve/judging.py",
    "evaluation/trials.py",
    "reporting/exports.py",
    "cli/train.py",
    "cli/submit.py",
)
"""The code that writes, below ``dafm_core/``."""
DEAD_PROCESS = 2**22 + 1
"""Above the highest process number that Linux gives."""


@dataclass(frozen=True)
class State:
    """What is on disk at one moment.

    Parameters
    ----------
    where : str
        File and line that would have run next, and the kind of state.
    files : mapping of str to bytes
        By path below the folder; a name that ends with ``/`` is an empty folder.
    """

    where: str
    files: dict[str, bytes]

    def restore(self, folder: Path) -> Path:
        """Make ``folder`` hold this state; return it."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            path = folder / name
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder


def states(action: Callable[[], Any], folder: Path) -> list[State]:
    """Run ``action``; return every distinct state of ``folder`` that a kill or a power cut leaves.

    Parameters
    ----------
    action : callable
        Writes below ``folder``, in this thread.
    folder : Path
        Need not be there yet.
    """
    watch = _Watch(folder)
    sync = os.fsync
    os.fsync = watch.synced(sync)
    before = sys.gettrace()
    sys.settrace(watch.call)
    try:
        action()
    finally:
        sys.settrace(before)
        os.fsync = sync
    watch.look("the end")
    return list(watch.distinct())


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, locks and measured times left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock") and path.name != "cost.json"
    }


class _Watch:
    """Looks at a folder before each line of the code that writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._moments: list[tuple[str, dict[str, tuple[int, bytes]], dict[int, bytes]]] = []
        self._seal: object = None
        self._on_disk: dict[int, bytes] = {}
        self._disk_changed = False
        for path in folder.rglob("*") if folder.exists() else ():
            if path.is_file():  # what was there before counts as on disk
                self._on_disk[path.stat().st_ino] = path.read_bytes()

    def call(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(str(HOME)):
            return None
        return self._line if name[len(str(HOME)) + 1 :].startswith(WRITING) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.look(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
        return self._line

    def synced(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def fsync(file: int) -> None:
            sync(file)
            number = file if isinstance(file, int) else file.fileno()
            path = Path(f"/proc/self/fd/{number}").resolve()
            if path.is_file():
                self._on_disk = {**self._on_disk, path.stat().st_ino: path.read_bytes()}
                self._disk_changed = True

        return fsync

    def look(self, where: str) -> None:
        entries = sorted(self._folder.rglob("*")) if self._folder.exists() else []
        stats = [(path, path.stat()) for path in entries]
        seal = [(str(p), s.st_ino, s.st_size, s.st_mtime_ns) for p, s in stats]
        if seal == self._seal and not self._disk_changed:
            return
        self._seal, self._disk_changed = seal, False
        content = {
            str(path.relative_to(self._folder)) + "/" * path.is_dir(): (
                stat.st_ino,
                b"" if path.is_dir() else path.read_bytes(),
            )
            for path, stat in stats
        }
        self._moments.append((where, content, self._on_disk))

    def distinct(self) -> Iterator[State]:
        seen: set[tuple[tuple[str, bytes], ...]] = set()
        for state in self._all():
            key = tuple(sorted(state.files.items()))
            if key not in seen:
                seen.add(key)
                yield state

    def _all(self) -> Iterator[State]:
        earlier = self._moments[0][1] if self._moments else {}
        for where, now, on_disk in self._moments:
            known = {inode for inode, _ in earlier.values()}
            for name, (inode, content) in now.items():
                old = earlier.get(name, (0, b""))[1]
                renamed = inode in known and (name not in earlier or earlier[name][0] != inode)
                if renamed or name.endswith("/") or content == old:
                    continue
                cut = (_same_start(old, content) + len(content)) // 2
                torn = {**now, name: (inode, content[:cut] + old[cut:])}
                yield _state(f"{where} torn {name}", torn)
            yield _state(where, now)
            lost = {name: (inode, on_disk.get(inode, b"")) for name, (inode, _) in now.items()}
            yield _state(f"{where} power", lost)
            earlier = now


def _same_start(one: bytes, other: bytes) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _state(where: str, files: dict[str, tuple[int, bytes]]) -> State:
    """Return a state in which temporary files belong to a process that is gone."""
    mine = re.compile(rf"(?<=[.-]){os.getpid()}(?=\.)")
    return State(where, {mine.sub(str(DEAD_PROCESS), n): b for n, (_, b) in files.items()})
