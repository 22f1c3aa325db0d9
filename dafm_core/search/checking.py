"""Whether the files of an index are what its manifest says; what matched once is not read again.

An index that grows gets new files beside those that it has: only they are read then. What an engine
keeps is ``engines.py``'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import StoreError
from dafm_core.ground.blocks import checksum
from dafm_core.ground.files import sha256_of
from dafm_core.ground.ids import hash_strings
from dafm_core.scoring.feature_cache import BLOCK_IMAGES
from dafm_core.search.cells import columns_file
from dafm_core.search.stored import stored_array
from dafm_core.store import checked

if TYPE_CHECKING:
    from dafm_core.search.index import GalleryIndex


def check(index: GalleryIndex) -> None:
    """As :func:`verify`, but files that are those which matched before are passed over."""
    seen, known = checked.signature(index.path, _tests(index)), checked.known(index.path)
    new = {name for name in _tests(index) if name not in seen or known.get(name) != seen[name]}
    if new:
        started = time.perf_counter()
        verify(index, new)
        trust(index)
        cost = checked.n_bytes({name: seen[name] for name in new if name in seen})
        checked.say_cost(index.path, cost, started)
    index.is_checked = True


def trust(index: GalleryIndex) -> None:
    """Remember every file as one that matches: they were read, or have just been written."""
    seen = checked.signature(index.path, _tests(index))
    checked.remember(index.path, checked.settled(seen))
    index.is_checked = True


def verify(index: GalleryIndex, names: Collection[str] | None = None) -> None:
    """Read files of an index, all by default, and compare them with their checksums.

    Raises
    ------
    StoreError
        At the first file that does not match.
    """
    for name, matches in _tests(index).items():
        if (names is None or name in names) and not matches():
            raise StoreError(
                f"{index.path / name}: does not match its checksum. Build the index again."
            )


def _tests(index: GalleryIndex) -> dict[str, Callable[[], bool]]:
    """Return what says of each file, by its name within the index, whether it matches."""
    bank = index.manifest.bank
    tests: dict[Path, Callable[[], bool]] = {}
    for file, sha256 in (
        *((index.state / name, sha256) for name, sha256 in index.manifest.files.items()),
        *zip(index.bank_parts, bank.get("parts", ()), strict=True),
        *((index.path / name, sha) for name, sha in index.manifest.codes.get("files", {}).items()),
        # none in an index of an earlier version
        *((index.path / name, sha256) for name, sha256 in bank.get("files", {}).items()),
    ):
        tests[file] = partial(_matches, file, sha256)
    for part in index.bank_parts:
        tests[columns_file(part)] = partial(_columns_match, part)
    for name, entry in index.entries.items():
        for p, features in enumerate(entry.parts):
            file = index.path / name / f"part-{p}.npy"
            tests[file] = partial(_features_match, file, features.sha256)
    return {str(file.relative_to(index.path)): test for file, test in tests.items()}


def _matches(file: Path, sha256: str) -> bool:
    if not file.exists():
        raise StoreError(f"{file}: is missing. Build the index again.")
    return sha256_of(file) == sha256


def _features_match(file: Path, sha256: str) -> bool:
    return part_sha256(stored_array(file)) == sha256


def _columns_match(part: Path) -> bool:
    """Say whether the means and spreads that stand alone are those among a bank's cells."""
    cells, columns = stored_array(part), stored_array(columns_file(part))
    return np.array_equal(columns, np.concatenate([cells[:, :, 0], cells[:, :, 1]], 1))


def part_sha256(array: NDArray[Any]) -> str:
    """Return the hash of the checksums of an array's blocks."""
    starts = range(0, len(array), BLOCK_IMAGES)
    return hash_strings(checksum(array[s : s + BLOCK_IMAGES]) for s in starts)
