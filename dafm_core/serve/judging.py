"""Judgements kept: a file that is only ever appended to, whole after any crash.

Several processes may append to one file: each does while it holds ``.NAME.lock`` beside it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from dafm_core.datasets.judgements import MARKS, latest, read
from dafm_core.errors import DatasetError
from dafm_core.ground.ids import is_text
from dafm_core.search.index import GalleryIndex
from dafm_core.search.requests import MAX_TEXT
from dafm_core.serve.limits import Refused

LONGEST: Final = 10.0
"""Seconds that one process waits for another."""


class Judgements:
    """What was judged on one index.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    index : GalleryIndex

    Raises
    ------
    DatasetError
        If the file holds something else, or was made on another index.
    """

    def __init__(self, path: Path, index: GalleryIndex) -> None:
        self.path = path
        self._index = index
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        lines: list[dict[str, Any]] = []
        try:
            with self._alone():
                if path.exists() and path.stat().st_size:
                    header, lines = read(path)
                    if Path(header["index"]) != index.path.resolve():
                        raise DatasetError(
                            f"{path}: was judged on {header['index']}, not on {index.path}. Use "
                            "another file."
                        )
                else:
                    self._append({"format": 1, "index": str(index.path.resolve())})
        except Refused as refused:
            raise DatasetError(f"{path}: {refused.reason}") from None
        self._latest = latest(lines)

    @property
    def n_queries(self) -> int:
        """Queries with an image marked as meant."""
        return sum("meant" in marks.values() for marks in self._latest.values())

    def marks(self, references: Sequence[str], text: str) -> dict[str, str]:
        """Return the mark of each judged image of a query."""
        return dict(self._latest.get((tuple(references), text), {}))

    def add(self, references: Sequence[str], text: str, image: str, mark: str) -> None:
        """Keep a judgement: on disk before this returns.

        Raises
        ------
        Refused
            For an unknown image or mark, references that are no images of the gallery, or a disk
            that is full; nothing is half written then.
        """
        if mark not in MARKS:
            raise Refused(400, f"mark: expected {', '.join(MARKS)}, got {mark!r}.")
        if len(text) > MAX_TEXT or not is_text(text):
            raise Refused(
                400, f"text: expected at most {MAX_TEXT:,} characters that can be written."
            )
        if not references and not text.strip():
            raise Refused(400, "judgement: expected a query with a text or a reference image.")
        for name in [image, *references]:
            if name not in self._index.ids:
                raise Refused(
                    400,
                    f"judgement: {name!r} is no image of the gallery. Uploads are not kept, so "
                    "only queries with references of the gallery can be judged.",
                )
        line = {"references": list(references), "text": text, "image": image, "mark": mark}
        with self._alone():
            self._append({**line, "time": int(time.time())})
            self._latest.setdefault((tuple(references), text), {})[image] = mark

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the file against other threads and other processes."""
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=LONGEST)
        with self._lock:
            try:
                lock.acquire()
            except (OSError, Timeout) as error:
                reason = getattr(error, "strerror", None) or "another process holds it"
                raise Refused(
                    507, f"judgement: could not be written ({reason}). Nothing was lost."
                ) from None
            try:
                yield
            finally:
                lock.release()

    def _append(self, value: object) -> None:
        data = (json.dumps(value, ensure_ascii=False) + "\n").encode()
        try:
            with self.path.open("ab", buffering=0) as file:
                size = self._cut_torn_line(file.seek(0, os.SEEK_END))
                try:
                    while data:
                        data = data[file.write(data) :]
                    os.fsync(file.fileno())
                except OSError:
                    os.ftruncate(file.fileno(), size)
                    raise
        except OSError as error:
            raise Refused(
                507, f"judgement: could not be written ({error.strerror}). Nothing was lost."
            ) from None

    def _cut_torn_line(self, size: int) -> int:
        """Remove a last line that a crash cut short: the next one would continue it.

        Returns the size of what is left.
        """
        if not size:
            return 0
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read() == b"\n":
                return size
            file.seek(0)
            size = file.read().rfind(b"\n") + 1
        os.truncate(self.path, size)
        return size
