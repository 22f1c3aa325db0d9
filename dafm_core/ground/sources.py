"""Files from elsewhere, at the boundary: ordinary files, no larger than a limit, read as data.

Every reader of a format begins here. A named pipe or a device is refused before it is opened, a
file that would need too much memory before it is read, and whatever a parser raises for damaged
content comes as ValueError. The limits are those of docs/reference/limits.md.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dafm_core.ground.printable import first_line

if TYPE_CHECKING:
    import zipfile

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

SURROGATE, SURROGATE_BYTES = re.compile(r"\\u[dD][89a-fA-F]"), re.compile(rb"\\u[dD][89a-fA-F]")
"""How JSON spells half of a pair; whole pairs are spelled by two of them."""

Hook: TypeAlias = Callable[[list[tuple[str, Any]]], Any]

TEXT_BYTES: Final = 2**30
"""Largest text or JSON file, unpacked."""
SMALL_BYTES: Final = 2**28
"""What a packed file may always unpack to, however small it is."""
LARGEST_RATIO: Final = 100
"""How many times its size a larger packed file may unpack to; matrices of scores stay below 10."""
LONGEST_NUMBER: Final = 30
"""Digits of a whole number in JSON; a float64 holds 300, an int64 fewer than 20."""
SMALL_CELLS: Final = 2**25
"""What a table may always have; beyond them it may have ``LARGEST_RATIO`` cells per byte."""


def ordinary(path: str | Path, *, limit: int | None = None) -> Path:
    """Return the path of an ordinary file.

    Raises
    ------
    OSError
        If it is missing, a folder, a device or a named pipe, or has more than ``limit`` bytes.
    """
    path = Path(path)
    size = path.stat().st_size
    if path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.is_file():
        raise OSError(errno.EINVAL, "a device or a named pipe, no file", str(path))
    if limit is not None and size > limit:
        raise OSError(errno.EFBIG, f"{size:,} bytes, at most {limit:,} are read", str(path))
    return path


def source_bytes(path: str | Path) -> bytes:
    """Return what a file holds, unpacked where its name ends in ``.gz``; errors as above.

    Raises
    ------
    OSError
        As :func:`ordinary`.
    ValueError
        If it is packed, and damaged or too large.
    """
    path = ordinary(path, limit=TEXT_BYTES)
    data = path.read_bytes()
    return unpacked(data) if path.suffix.lower() == ".gz" else data


def unpacked(data: bytes) -> bytes:
    """Return what gzip packed; raise ValueError where it is damaged, or more than is read."""
    import gzip

    limit = min(TEXT_BYTES, unpacked_limit(len(data)))
    try:
        content = gzip.GzipFile(fileobj=io.BytesIO(data)).read(limit + 1)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"the packed file is damaged ({error})") from None
    except Exception as error:
        raise ValueError(f"the packed file is damaged ({type(error).__name__})") from None
    if len(content) > limit:
        raise ValueError(f"it unpacks to more than {limit:,} bytes, which are not read")
    return content


def unpacked_limit(packed: int) -> int:
    """Return how many bytes may come of a packed file of so many."""
    return max(SMALL_BYTES, LARGEST_RATIO * packed)


def source_text(path: str | Path, *, encoding: str = "utf-8-sig") -> str:
    """Return a text file; raise OSError or ValueError as :func:`source_bytes`."""
    return source_bytes(path).decode(encoding)


def parsed_json(
    text: str | bytes, hook: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """Return the value of a JSON text; raise ValueError for any other, however it is nested.

    Parameters
    ----------
    text : str or bytes
    hook : callable, optional
        Makes the value of an object from its pairs.
    """
    try:
        value = json.loads(text, object_pairs_hook=hook, parse_int=_whole_number)
        if isinstance(text, str):
            has_halves = SURROGATE.search(text) is not None
        else:
            has_halves = SURROGATE_BYTES.search(text) is not None
        if has_halves:
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError as error:
        lone = error.object[error.start : error.start + 1]
        raise ValueError(
            f"it holds {lone!r}, half of a surrogate pair, which no file of text can hold"
        ) from None
    return value


def _whole_number(digits: str) -> int:
    """Return a whole number of JSON; raise ValueError for one that no array and no table holds."""
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"it holds a whole number of {len(digits)} digits ({digits[:20]}...)")
    return int(digits)


def distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the value of an object, as a hook; raise ValueError where a key stands twice in it."""
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key!r} stands twice")
            seen.add(key)
    return content


def source_json(path: str | Path, hook: Hook | None = None) -> Any:
    """Return what a JSON file holds; raise OSError or ValueError."""
    data = source_bytes(path)
    return parsed_json(data.removeprefix(b"\xef\xbb\xbf"), hook)


def source_table(path: str | Path) -> pl.DataFrame:
    """Return a parquet table.

    Raises
    ------
    OSError
        As :func:`ordinary`.
    ValueError
        If it is damaged, or declares more cells than a file of its size can mean.
    """
    import polars as pl

    path = ordinary(path)
    try:
        with _silent_panics():
            footer = pl.scan_parquet(path, glob=False)
            n_columns = len(footer.collect_schema())
            n_cells = footer.select(pl.len()).collect().item() * n_columns
            if n_cells > max(SMALL_CELLS, LARGEST_RATIO * path.stat().st_size):
                raise ValueError(f"it declares {n_cells:,} cells, more than are read")
            return pl.read_parquet(path, glob=False)
    except ValueError:
        raise
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ValueError(first_line(error)) from None
    except BaseException as error:  # polars raises its PanicException on damaged parquet
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise
        raise ValueError(f"it is damaged ({type(error).__name__})") from None


_PANICS: Final = threading.Lock()


@contextmanager
def _silent_panics() -> Iterator[None]:
    """Keep what polars writes to standard error, past Python, where a file makes it panic."""
    with _PANICS:  # two at once would give back the wrong one
        try:
            before = os.dup(2)
        except OSError:  # there is no standard error
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            os.close(nowhere)


def source_array(path: str | Path) -> NDArray[Any]:
    """Return the array of an npy file, memory-mapped, so that only what is used is read.

    Raises
    ------
    OSError
        As :func:`ordinary`.
    ValueError
        If it is damaged, holds objects, or is shorter than it says.
    """
    import numpy as np

    path = ordinary(path)
    with path.open("rb") as file:  # NumPy leaves an archive that is none open
        if file.read(2) == b"PK":
            raise ValueError("it is an archive of arrays by its content")
    try:
        array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged header may raise whatever its parser raises
        raise ValueError(first_line(error)) from None
    return array


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError where the members of an archive of ``size`` bytes unpack to too much."""
    total = sum(member.file_size for member in archive.infolist())
    if total > unpacked_limit(size):
        raise ValueError(f"it unpacks to {total:,} bytes, of {size:,}; such archives are not read")
