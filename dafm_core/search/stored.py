"""Files of an index, read: what cannot be is a StoreError that names it."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.errors import StoreError
from dafm_core.ground.printable import first_line
from dafm_core.ground.sources import check_archive, ordinary, source_array, source_table


def stored_array(path: Path) -> NDArray[Any]:
    """Return an array of an index, memory-mapped; raise StoreError where it cannot be read."""
    try:
        return source_array(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({error}). Build the index again.") from None


def stored_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an npz file of an index; raise StoreError where it cannot be read."""
    try:
        with zipfile.ZipFile(ordinary(path)) as archive:
            check_archive(archive, path.stat().st_size)
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        reason = first_line(error)
        raise StoreError(f"{path}: cannot be read ({reason}). Build the index again.") from None


def stored_table(path: Path) -> pl.DataFrame:
    """Return a table of an index; raise StoreError where it cannot be read."""
    try:
        return source_table(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({error}). Build the index again.") from None
