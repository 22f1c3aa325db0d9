"""What an original model computed, in small files: for plugins that compare themselves with it.

Nothing that is compared changes: recorded outputs come back bit by bit, and so do the weights they
were computed with. What makes files small:

* The bytes of numbers are kept apart by their place, since exponents repeat where last bits do not.
* Random weights are named by the seed they were drawn from, with the last bits where our arithmetic
  and the original run's differ (:class:`Drawn`).
* Of a checkpoint, numbers that no recorded output depends on (embeddings of words that do not
  occur, momentum copies) may be left out. Others stand in their place when it is restored, so that
  every tensor is there in its shape and type.

Pickles of a checkpoint stay as they were written. Nothing here imports torch: a checkpoint is a zip
archive of pickles and records of numbers.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_INDEX = "index"
_ALIGNMENT = 64
"""Bytes on which a record of numbers starts, as in torch's files: they are mapped into memory."""

_BLOCK = 16
"""Normal numbers that torch makes at a time, of as many uniform ones."""


def write_recorded(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays of numbers, losslessly; the file is read by :func:`read_recorded`.

    Parameters
    ----------
    path : Path
        Ends in ``.npz``.
    arrays : mapping of str to ndarray
    """
    _write(path, {name: [i] for i, name in enumerate(arrays)}, list(arrays.values()))


def read_recorded(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays that :func:`write_recorded` wrote, in its order."""
    index, arrays = _read(path)
    return {name: arrays[i] for name, (i,) in index.items()}


def _write(path: Path, entries: dict[str, Any], arrays: list[NDArray[Any]]) -> None:
    index = {"entries": entries, "arrays": [[a.dtype.str, a.shape] for a in arrays]}
    planes = {
        str(i): np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, -1).T
        for i, array in enumerate(arrays)
        if array.size
    }
    text = np.frombuffer(json.dumps(index).encode(), np.uint8)
    np.savez_compressed(path, **{_INDEX: text}, **planes)  # type: ignore[arg-type]


def _read(path: Path) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    with np.load(path, allow_pickle=False) as content:
        index = json.loads(content[_INDEX].tobytes())
        arrays: list[NDArray[Any]] = []
        for i, (dtype, shape) in enumerate(index["arrays"]):
            array = np.empty(shape, dtype)
            if array.size:
                array = np.ascontiguousarray(content[str(i)].T).view(dtype).reshape(shape)
            arrays.append(array)
    return index["entries"], arrays


@dataclass(frozen=True)
class Drawn:
    """Numbers of a normal distribution that torch drew on a CPU: ``shift + scale * normal``.

    Parameters
    ----------
    seed : int
        Of ``torch.manual_seed``, in [0, 2**32).
    start : int
        How many numbers of 32 bits the generator had given before.
    shift, scale : float
    """

    seed: int
    start: int
    shift: float
    scale: float

    def numbers(self, size: int, dtype: str) -> NDArray[Any]:
        """Return them, to within some last bits of what torch makes of them on any one CPU.

        torch takes the lower 24 of the 32 bits of a Mersenne twister as a uniform number, and pairs
        the first eight of sixteen with the last eight (Box and Muller, 1958). Sixteen new ones
        replace the last ones where the size is no multiple.
        """
        n_uniform = size + (_BLOCK if size % _BLOCK else 0)
        twister = np.random.RandomState(self.seed)  # seeded as torch does
        bits = twister.randint(0, 2**32, self.start + n_uniform, np.uint32)[self.start :]
        uniform = (bits & 0xFFFFFF) / 2**24
        normal = np.empty(size)
        whole = size - size % _BLOCK
        normal[:whole] = _box_muller(uniform[:whole])
        if size % _BLOCK:
            normal[-_BLOCK:] = _box_muller(uniform[size:])
        numbers: NDArray[Any] = (self.shift + self.scale * normal).astype(dtype)
        return numbers


def _box_muller(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    first, second = uniform.reshape(-1, 2, _BLOCK // 2).transpose(1, 0, 2)
    radius = np.sqrt(-2 * np.log1p(-first))
    angle = (np.float32(2 * np.pi) * second.astype(np.float32)).astype(
        np.float64
    )  # as torch rounds
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return np.asarray(pairs.reshape(-1))


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What is kept of a record of numbers.

    Parameters
    ----------
    dtype : str
    needed : ndarray of bool, optional
        Which numbers are kept; all where left out.
    drawn : Drawn, optional
        What they were drawn from; then only differences in the last bits are kept.
    """

    dtype: str
    needed: NDArray[np.bool_] | None = None
    drawn: Drawn | None = None


def record_checkpoints(
    target: Path, sources: Mapping[str, Path], numbers: Mapping[str, Numbers]
) -> None:
    """Write what :func:`restore_checkpoints` makes checkpoints of; equal records are kept once.

    Parameters
    ----------
    target : Path
        Ends in ``.npz``.
    sources : mapping of str to Path
        Name of the file to restore -> what ``torch.save`` wrote.
    numbers : mapping of str to Numbers
        What is kept of each record ``ARCHIVE/data/N``, by its name; other records are kept whole.

    Raises
    ------
    ValueError
        If numbers are not those that were drawn.
    """
    entries: dict[str, Any] = {}
    arrays: list[NDArray[Any]] = []
    kept: dict[bytes, list[Any]] = {}
    for file, source in sources.items():
        records = entries[file] = []
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                content = archive.read(name)
                if content not in kept:
                    kept[content] = _kept(content, numbers.get(name), arrays, name)
                records.append([name, *kept[content]])
    _write(target, entries, arrays)


def _kept(content: bytes, how: Numbers | None, arrays: list[NDArray[Any]], name: str) -> list[Any]:
    """Add to the arrays what is kept of a record, and return how to restore it from them."""
    array = np.frombuffer(content, how.dtype if how else np.uint8)
    if how and how.needed is not None:
        arrays += [np.packbits(how.needed), array[how.needed]]
        return ["some", len(arrays) - 2, len(array)]
    if how and how.drawn:
        close = how.drawn.numbers(len(array), how.dtype)
        whole = f"i{array.itemsize}"
        steps = array.view(whole).astype(np.int64) - close.view(whole)
        if np.abs(steps).max() > np.iinfo(np.int8).max:
            raise ValueError(f"{name}: the numbers are not those of {how.drawn}.")
        arrays.append(steps.astype(np.int8))
        return ["drawn", len(arrays) - 1, how.dtype, *astuple(how.drawn)]
    arrays.append(array)
    return ["all", len(arrays) - 1]


def restore_checkpoints(recorded: Path, folder: Path) -> None:
    """Write the checkpoints again, for ``torch.load``.

    Parameters
    ----------
    recorded : Path
        What :func:`record_checkpoints` wrote.
    folder : Path
    """
    entries, arrays = _read(recorded)
    for file_name, records in entries.items():
        with (folder / file_name).open("wb") as file, zipfile.ZipFile(file, "w") as archive:
            for name, *how in records:
                content = _restored(how, arrays).tobytes()
                archive.writestr(_aligned(name, file.tell()), content)


def _restored(how: list[Any], arrays: list[NDArray[Any]]) -> NDArray[Any]:
    kind, place, *rest = how
    i = int(place)
    if kind == "some":
        (size,) = rest
        others = np.random.default_rng(size).standard_normal(size, np.float32) / 10
        numbers: NDArray[Any] = others.astype(arrays[i + 1].dtype)
        numbers[np.unpackbits(arrays[i], count=size).astype(bool)] = arrays[i + 1]
        return numbers
    if kind == "drawn":
        dtype, *parameters = rest
        close = Drawn(*parameters).numbers(arrays[i].size, dtype)
        bits = close.view(f"i{close.itemsize}")
        numbers = bits + arrays[i].astype(bits.dtype)
        return numbers
    return arrays[i]


def _aligned(name: str, position: int) -> zipfile.ZipInfo:
    """Return the entry of a record, padded so that its content starts on a boundary."""
    info = zipfile.ZipInfo(name)
    header = 30 + len(name.encode())  # of a local file header, before padding
    padding = -(position + header + 4) % _ALIGNMENT
    info.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding
    return info
