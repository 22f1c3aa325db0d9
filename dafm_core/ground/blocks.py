"""An array on disk that grows by blocks of rows and survives being killed: the ground under stores
and caches.

``NAME.npy`` appears only when it is complete. Until then ``NAME.partial.npy`` holds the rows and
``NAME.progress.json`` says which blocks are in it, with a checksum each; a block is on disk before
it is recorded, so a kill loses at most the block being written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import StoreError
from dafm_core.ground.files import write_json


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
        self._progress = path.with_name(f"{path.stem}.progress.json")
        self._blocks: dict[int, Block] = {}
        self._array: NDArray[Any] | None = None
        if self._progress.exists():
            self._resume(restart)

    def pending(self) -> list[tuple[int, int]]:
        """Return the (start, stop) of every block that is not on disk."""
        starts = range(0, self.n_rows, self.block_rows)
        return [(s, min(s + self.block_rows, self.n_rows)) for s in starts if s not in self._blocks]

    def write(self, start: int, rows: NDArray[Any], **facts: Any) -> None:
        """Put one block on disk, then record it."""
        if self._array is None:
            self._array = self._create(rows)
        stop = start + len(rows)
        self._array[start:stop] = rows
        _sync(self._array)
        self._blocks[start] = Block(start, stop, checksum(self._array[start:stop]), facts)
        state = {"identity": self.identity, "blocks": [asdict(b) for b in self.blocks]}
        write_json(self._progress, state)

    @property
    def blocks(self) -> list[Block]:
        """The blocks on disk, by row."""
        return [self._blocks[start] for start in sorted(self._blocks)]

    def commit(self) -> None:
        """Give the complete array its name; the record of its blocks stays until ``forget``."""
        if self.pending():
            raise StoreError(
                f"{self.path}: {len(self.pending())} blocks are missing; cannot finish."
            )
        self._array = None
        self._partial.replace(self.path)

    def forget(self) -> None:
        """Remove the record of blocks, once whatever depends on it is safe."""
        self._progress.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what is unfinished."""
        self._array = None
        self._blocks = {}
        self._progress.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)

    def _create(self, rows: NDArray[Any]) -> NDArray[Any]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        shape = (self.n_rows, *rows.shape[1:])
        return np.lib.format.open_memmap(self._partial, mode="w+", dtype=rows.dtype, shape=shape)

    def _resume(self, restart: bool) -> None:
        try:
            state = json.loads(self._progress.read_text())
            begun, blocks = state["identity"], [Block(**b) for b in state["blocks"]]
            if not self._partial.exists():
                self.path.replace(self._partial)  # killed between commit() and forget()
            array = np.lib.format.open_memmap(self._partial, mode="r+")
        except (OSError, ValueError, KeyError, TypeError):
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
        self._array = array
        intact = [b for b in blocks if checksum(array[b.start : b.stop]) == b.sha256]
        self._blocks = {block.start: block for block in intact}


def checksum(rows: NDArray[Any]) -> str:
    """Return the sha256 of the rows' bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()


def _sync(array: NDArray[Any]) -> None:
    if isinstance(array, np.memmap):
        array.flush()
