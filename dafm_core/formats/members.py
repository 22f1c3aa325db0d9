"""Matrices and features in other people's files: npy, npz, pt, safetensors, parquet.

Reads one two-dimensional array and, where the file has them, the ids of its rows and columns.
Arrays are memory-mapped where the format allows it (npy, safetensors, pt), and nothing in a file
is ever executed. What ids and scores must match is checked in ``importing.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.errors import OptionError, SimilarityError, closest
from dafm_core.wrapping.checkpoints import read_checkpoint

MATRIX_SUFFIXES: Final = (".npy", ".npz", ".pt", ".pth", ".safetensors", ".parquet")
ROW_IDS: Final = ("query_ids",)
COLUMN_IDS: Final = ("gallery_ids", "image_ids")
FEATURE_IDS: Final = ("ids", *ROW_IDS, *COLUMN_IDS)
"""What ids are called in a file; beside features, each of them names the rows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NamedArray:
    """A two-dimensional array of numbers, and the ids of its rows and columns where known.

    Parameters
    ----------
    path : Path
        For messages.
    values : ndarray of shape (n_rows, n_columns)
        May be a memory map.
    row_ids, column_ids : tuple of str or None
    """

    path: Path
    values: NDArray[Any] = field(repr=False)
    row_ids: tuple[str, ...] | None = field(default=None, repr=False)
    column_ids: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.dtype.kind not in "fiu":
            raise SimilarityError(
                f"{self.path}: expected a two-dimensional array of numbers, got shape "
                f"{self.values.shape} of {self.values.dtype}."
            )
        named = ((self.row_ids, 0, "rows"), (self.column_ids, 1, "columns"))
        for ids, axis, what in named:
            if ids is not None and len(ids) != self.values.shape[axis]:
                raise SimilarityError(
                    f"{self.path}: {len(ids)} ids for {self.values.shape[axis]} {what}."
                )


def read_array(path: Path, *, key: str | None = None, features: bool = False) -> NamedArray:
    """Read a matrix, or features, by the file's suffix.

    Parameters
    ----------
    path : Path
    key : str, optional
        Which array, where a file holds several.
    features : bool, default=False
        Whether the file holds one vector per row, so that any ids in it are the rows'.

    Raises
    ------
    SimilarityError
        If the file is missing, damaged, or holds no two-dimensional array of numbers.
    OptionError
        For an unknown key or suffix.
    ProviderError
        If a .pt file is damaged or would need code to be executed.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise OptionError(
            f"{path}: no matrix format {path.suffix!r}{closest(path.suffix, MATRIX_SUFFIXES)}"
        )
    if not path.is_file():
        raise SimilarityError(f"{path}: no such file. Check the path.")
    try:
        content: Mapping[str, Any] = reader(path)
    except (OSError, ValueError, EOFError, BadZipFile, pl.exceptions.PolarsError) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SimilarityError(f"{path}: cannot be read ({cause}).") from None
    name = _choose(content, key, path)
    return NamedArray(
        path=path,
        values=_as_array(content[name], path),
        row_ids=_ids(content, FEATURE_IDS if features else ROW_IDS, path),
        column_ids=None if features else _ids(content, COLUMN_IDS, path),
    )


def read_ids(path: str | Path) -> tuple[str, ...]:
    """Return the ids a text file lists, one a line.

    Raises
    ------
    SimilarityError
        If the file cannot be read as text.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise SimilarityError(f"{path}: expected one id a line ({error}).") from None
    return tuple(line.strip() for line in lines if line.strip())


def _read_npy(path: Path) -> dict[str, Any]:
    return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False)}


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_pt(path: Path) -> Mapping[str, Any]:
    content = read_checkpoint(path, "import")
    return content if isinstance(content, Mapping) else {path.stem: content}


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:  # checks the header
            ids = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(error) from None
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    content: dict[str, Any] = {name: json.loads(ids[name]) for name in FEATURE_IDS if name in ids}
    for name, entry in header.items():
        if name != "__metadata__":
            number = _SAFETENSORS_DTYPES.get(entry["dtype"])
            if number is None or 0 in entry["shape"]:
                raise ValueError(f"{name} has shape {entry['shape']} of {entry['dtype']}")
            offset = 8 + length + entry["data_offsets"][0]
            shape = tuple(entry["shape"])
            content[name] = np.memmap(path, number, "r", offset=offset, shape=shape)
    return content


def _read_parquet(path: Path) -> dict[str, Any]:
    frame = pl.read_parquet(path)
    if "query_id" not in frame.columns:
        raise ValueError("expected a column 'query_id' and one column per image")
    wide = frame.drop("query_id")
    return {
        path.stem: wide.to_numpy(),
        "query_ids": frame["query_id"].cast(pl.String).to_list(),
        "gallery_ids": wide.columns,
    }


_READERS: Final = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".pt": _read_pt,
    ".pth": _read_pt,
    ".safetensors": _read_safetensors,
    ".parquet": _read_parquet,
}
_SAFETENSORS_DTYPES: Final = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
}


def _choose(content: Mapping[str, Any], key: str | None, path: Path) -> str:
    """Return the name of the array that is meant."""
    names = [str(name) for name in content if name not in FEATURE_IDS]
    if key is not None:
        if key not in names:
            raise OptionError(f"{path}: no array {key!r}{closest(key, names)}")
        return key
    if len(names) != 1:
        raise OptionError(
            f"{path}: expected one array, got {', '.join(sorted(names)) or 'none'}. "
            "Name one with --key."
        )
    return names[0]


def _as_array(value: Any, path: Path) -> NDArray[Any]:
    if hasattr(value, "detach"):
        import torch

        value = value.detach()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if not isinstance(value, np.ndarray):
        raise SimilarityError(f"{path}: expected an array, got {type(value).__name__}.")
    return value


def _ids(content: Mapping[str, Any], names: Sequence[str], path: Path) -> tuple[str, ...] | None:
    for name in names:
        if name in content:
            values = content[name]
            values = values.tolist() if hasattr(values, "tolist") else values
            if not isinstance(values, list | tuple) or not all(
                isinstance(value, str | int) for value in values
            ):
                raise SimilarityError(f"{path}: expected {name!r} to list ids.")
            return tuple(str(value) for value in values)
    return None
