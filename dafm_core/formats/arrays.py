"""NumPy's own files, and the matrices that ``dafm fuse`` writes: npy, npz."""

from __future__ import annotations

import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path
from typing import Any, Final

from dafm_core.formats.content import Axis, Label, Matrix, Request
from dafm_core.formats.id_files import read_id_file
from dafm_core.formats.members import Member, matrix_of, members_in
from dafm_core.ground.sources import check_archive
from dafm_core.wrapping.inert import numpy_header, object_shape, read_numpy, read_numpy_member

SIDECARS: dict[Axis, str] = {"rows": ".queries.txt", "columns": ".gallery.txt"}
"""Suffixes of the lists of ids beside a matrix, in place of its own."""


def read_npy(path: Path, request: Request) -> Matrix:
    """Return the array of an npy file, and the ids in the text files beside it."""
    value = read_numpy(path, mmap=True)
    members = list(members_in(value, path.stem, lambda *_: None))
    matrix = matrix_of(path, members, request)
    if request.features:
        return matrix
    beside = tuple(
        Label(name=file.name, length=len(ids), ids=ids, axis=axis, beside=True)
        for axis, suffix in SIDECARS.items()
        if (file := path.with_suffix(suffix)).is_file() and file.name not in request.ignore
        for ids in [read_id_file(file)]
    )
    return Matrix(path=path, values=matrix.values, labels=(*matrix.labels, *beside))


DAMAGED: Final = (ValueError, EOFError, RuntimeError, LZMAError, zlib.error, zipfile.BadZipFile)
"""What zipfile raises for an archive that it cannot read, encrypted ones among them."""


def read_npz(path: Path, request: Request) -> Matrix:
    """Return the array of an npz file that is meant; members that nobody asks for stay unread."""
    with zipfile.ZipFile(path) as archive:
        check_archive(archive, path.stat().st_size)
        members = [_npz_member(path, archive, name) for name in archive.namelist()]
    return matrix_of(path, members, request)


def _npz_member(path: Path, archive: zipfile.ZipFile, name: str) -> Member:
    """Return one member by its header alone."""

    def load() -> Any:
        with zipfile.ZipFile(path) as again:
            return read_numpy_member(again, name)

    label = name.removesuffix(".npy")
    try:
        with archive.open(name) as file:
            header = numpy_header(file)
        if header is not None:
            shape, dtype = header
            is_matrix = len(shape) == 2 and dtype.kind in "fiu"
            return Member(name=label, shape=shape, kind=str(dtype), is_matrix=is_matrix, load=load)
        with archive.open(name) as file:
            shape = object_shape(file)
    except DAMAGED:
        return Member(name=label, shape=(), kind="damaged", is_matrix=False, load=load)
    return Member(name=label, shape=shape, kind="object", is_matrix=False, load=load)
