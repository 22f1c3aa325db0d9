"""Formats that can be imported: one table from a file's suffix to its reader.

A new format is one entry here: a function from a path and a request to a matrix with the lists
beside it, or to ranked lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

import polars as pl

from dafm_core.errors import DafmError, OptionError, SimilarityError, closest
from dafm_core.formats.arrays import DAMAGED, read_npy, read_npz
from dafm_core.formats.columns import read_csv, read_parquet
from dafm_core.formats.content import Content, Matrix, Request
from dafm_core.formats.json_lists import read_json
from dafm_core.formats.tensors import read_pt, read_safetensors
from dafm_core.formats.trec import read_trec
from dafm_core.ground.printable import first_line

Reader: TypeAlias = Callable[[Path, Request], Content]

READERS: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        ".npy": read_npy,
        ".npz": read_npz,
        ".pt": read_pt,
        ".pth": read_pt,
        ".safetensors": read_safetensors,
        ".parquet": read_parquet,
        ".csv": read_csv,
        ".tsv": read_csv,
        ".csv.gz": read_csv,
        ".tsv.gz": read_csv,
        ".json": read_json,
        ".json.gz": read_json,
        ".trec": read_trec,
        ".run": read_trec,
        ".txt": read_trec,
        ".trec.gz": read_trec,
        ".run.gz": read_trec,
        ".txt.gz": read_trec,
    }
)
"""The reader of each suffix. It may raise OSError, EOFError, ValueError or a polars error for a
damaged file, which :func:`read` turns into one line."""


def suffix_of(path: Path) -> str:
    """Return the suffix that says the format, in small letters.

    Examples
    --------
    >>> suffix_of(Path("my.run.GZ")), suffix_of(Path("v1.2.npy"))
    ('.run.gz', '.npy')
    """
    last = path.suffix.lower()
    return path.with_suffix("").suffix.lower() + last if last == ".gz" else last


def read(path: Path, request: Request) -> Content:
    """Return what a file holds, by its suffix.

    Raises
    ------
    OptionError
        For an unknown suffix, or a key or an option that does not go with the format.
    SimilarityError
        If the file is missing, damaged, or holds neither a matrix nor lists.
    SubmissionError, ProviderError
        If a JSON or a .pt file is damaged; a .pt file also if code would be executed.
    """
    suffix = suffix_of(path)
    reader = READERS.get(suffix)
    if reader is None:
        raise OptionError(f"{path}: no format {suffix!r}{closest(suffix, READERS)}")
    if not path.is_file():
        raise SimilarityError(f"{path}: no such file. Check the path.")
    try:
        return reader(path, request)
    except DafmError:
        raise
    except (OSError, *DAMAGED, pl.exceptions.PolarsError) as error:
        raise SimilarityError(f"{path}: cannot be read ({first_line(error)}).") from None


def read_features(path: Path, request: Request) -> Matrix:
    """Return an array with one vector per row.

    Raises
    ------
    SimilarityError
        As :func:`read`, and if the file holds lists.
    """
    content = read(path, request)
    if not isinstance(content, Matrix):
        raise SimilarityError(f"{path}: expected features, one vector per row, got lists.")
    return content
