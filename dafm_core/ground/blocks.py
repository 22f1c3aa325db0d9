"""An array on disk that grows by blocks of rows and survives being killed: the ground under stores
and caches.

``NAME.npy`` appears only when it is complete. Until then ``NAME.partial.npy`` holds the rows and
``NAME.progress.jsonl`` is a log: a line that says what is being written, then a line with a
checksum per block. A block is written before its line is, so a kill loses at most one block. The
disk is waited for once in a while: whoever resumes after a loss of power reads every block that has
a line, and makes those again that are not what was written.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import StoreError
from dafm_core.ground.files import reserve
from dafm_core.ground.sources import source_array, source_bytes

SYNC_SECONDS: Final = 1.0
"""Work that a loss of power may cost."""


@dataclass(frozen=True)
class Block:
    """Rows ``start:stop``, the sha256 of their bytes, and what the writer noted of them."""

    start: int
    stop: int
    sha256: str
    facts: dict[str, Any]


class BlockFile:
    """Writes one ``.npy`` array of ``n_rows`` rows, block by block, in any order.

    Parameters
    ----------
    path : Path
        The finished file.
    n_rows, block_rows : int
        Blocks start at multiples of ``block_rows``.
    identity : mapping
        JSON values that decide the content; an interrupted file is resumed only under the same.
    restart : bool, default=False
        Throw a file begun under another identity away instead.

    Raises
    ------
    StoreError
        If an interrupted file was begun under another identity.
    """

    def __init__(
        self,
        path: Path,
        *,
        n_rows: int,
        block_rows: int,
        identity: Mapping[str, Any],
        restart: bool = False,
    ) -> None:
        self.path = path
        self.n_rows = n_rows
        self.block_rows = block_rows
        self.identity = json.loads(json.dumps(dict(identity)))
        self._partial = path.with_name(f"{path.stem}.partial.npy")
        self._log = _log_of(path)
        self._blocks: dict[int, Block] = {}
        self._data_offset = 0
        self._synced = -math.inf
        if self._log.exists():
            self._resume(restart)

    def pending(self) -> list[tuple[int, int]]:
        """Return the (start, stop) of every block that is not on disk."""
        starts = range(0, self.n_rows, self.block_rows)
        return [(s, min(s + self.block_rows, self.n_rows)) for s in starts if s not in self._blocks]

    def write(self, start: int, rows: NDArray[Any], **facts: Any) -> None:
        """Write one block, then record it.

        Raises
        ------
        OSError
            If there is no room; what was recorded stays.
        """
        rows = np.ascontiguousarray(rows)
        if not self._data_offset:
            self._create(rows)
        is_due = time.monotonic() - self._synced > SYNC_SECONDS
        with self._partial.open("r+b", buffering=0) as file:
            file.seek(self._data_offset + start * rows[0].nbytes)
            data = memoryview(rows.data).cast("B")
            while data:  # an unbuffered write may take less than it is given
                data = data[file.write(data) :]
            if is_due:
                os.fsync(file.fileno())
        block = Block(start, start + len(rows), checksum(rows), facts)
        self._append(asdict(block), sync=is_due)
        self._blocks[start] = block
        if is_due:
            self._synced = time.monotonic()

    @property
    def blocks(self) -> list[Block]:
        """The blocks that are written, by row."""
        return [self._blocks[start] for start in sorted(self._blocks)]

    def commit(self) -> None:
        """Give the complete array its name; the record of its blocks stays until ``forget``."""
        if self.pending():
            raise StoreError(
                f"{self.path}: {len(self.pending())} blocks are missing; cannot finish."
            )
        with self._partial.open("rb+") as file:
            os.fsync(file.fileno())
        self._partial.replace(self.path)

    def forget(self) -> None:
        """Remove the record of blocks, once whatever depends on it is safe."""
        forget(self.path)

    def discard(self) -> None:
        """Remove what is unfinished."""
        self._blocks = {}
        self._data_offset = 0
        self._log.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)

    def _create(self, rows: NDArray[Any]) -> None:
        """Make the file at its full size, so that a disk too small says so before the work."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        shape = (self.n_rows, *rows.shape[1:])
        header = {
            "descr": np.lib.format.dtype_to_descr(rows.dtype),
            "fortran_order": False,
            "shape": shape,
        }
        with self._partial.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            offset = file.tell()
            size = offset + math.prod(shape) * rows.dtype.itemsize
            reserve(file, size)
            os.fsync(file.fileno())
        self._log.unlink(missing_ok=True)
        self._append({"identity": self.identity}, sync=True)
        self._data_offset = offset

    def _append(self, record: Mapping[str, Any], *, sync: bool) -> None:
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            if sync:
                os.fsync(file.fileno())

    def _cut_log(self) -> list[dict[str, Any]]:
        """Return the records of the log; remove a last line that a kill cut short.

        Were it kept, the next record would continue that line, and neither could be read.
        """
        content = source_bytes(self._log)
        whole = content[: content.rfind(b"\n") + 1]
        records = [json.loads(line) for line in whole.decode("utf-8").splitlines()]
        if whole != content:
            os.truncate(self._log, len(whole))
        return records

    def _resume(self, restart: bool) -> None:
        try:
            records = self._cut_log()
            begun, blocks = records[0]["identity"], [Block(**record) for record in records[1:]]
            if not self._partial.exists():
                self.path.replace(self._partial)  # killed between commit() and forget()
            array = source_array(self._partial)
            offset = self._partial.stat().st_size - array.nbytes
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            self.discard()  # killed before anything was recorded
            return
        if begun != self.identity:
            if restart:
                self.discard()
                return
            keys = [k for k in self.identity | begun if self.identity.get(k) != begun.get(k)]
            raise StoreError(
                f"{self.path}: an interrupted write differs in {', '.join(sorted(keys))}. "
                "Repeat it with the same settings to finish it, or start over with --overwrite."
            )
        self._data_offset = offset
        intact = [b for b in blocks if checksum(array[b.start : b.stop]) == b.sha256]
        self._blocks = {block.start: block for block in intact}


def forget(path: Path) -> None:
    """Remove the record that a killed writer left beside a finished array."""
    _log_of(path).unlink(missing_ok=True)


def is_recorded(path: Path) -> bool:
    """Whether there is a record of blocks: an array begun, or one whose writer was killed late."""
    return _log_of(path).exists()


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}.progress.jsonl")


def checksum(rows: NDArray[Any]) -> str:
    """Return the sha256 of the rows' bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()
