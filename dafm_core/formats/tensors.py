"""Matrices in files of PyTorch and safetensors: tensors of any kind that has values.

torch is imported inside the functions: only a .pt file, or an 8-bit float, needs it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.formats.content import Matrix, Request
from dafm_core.formats.members import Member, matrix_of, members_in
from dafm_core.ground.printable import first_line
from dafm_core.ground.sources import ordinary, parsed_json
from dafm_core.wrapping.checkpoints import read_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

_DTYPES: Final = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
_FLOAT8: Final = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}


def read_pt(path: Path, request: Request) -> Matrix:
    """Return the tensor of a .pt file that is meant.

    Raises
    ------
    ProviderError
        If the file is damaged or would need code to be executed.
    """
    content = read_checkpoint(path, "import")
    return matrix_of(path, list(members_in(content, path.stem, _tensor_member)), request)


def _tensor_member(name: str, value: Any) -> Member | None:
    import torch

    if not isinstance(value, torch.Tensor):
        return None
    numbers = value.dtype != torch.bool and not value.is_complex()
    return Member(
        name=name,
        shape=() if value.is_nested else tuple(value.shape),
        kind=str(value.dtype).removeprefix("torch."),
        is_matrix=not value.is_nested and value.dim() == 2 and numbers,
        load=lambda: tensor_values(value),
    )


def tensor_values(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor of any layout and dtype as an array; numbers that NumPy lacks as float32.

    Raises
    ------
    ValueError
        If the tensor has no values (meta device), or none that are real numbers.
    """
    import torch

    if tensor.is_meta:
        raise ValueError("it is on the meta device and holds no values; save it from the CPU")
    if tensor.is_nested:
        raise ValueError("it is a nested tensor; save one row per query, all of one length")
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        raise ValueError(f"it holds complex numbers ({tensor.dtype}); save real scores")
    tensor = tensor.resolve_neg().cpu()
    if tensor.dtype.is_floating_point and tensor.dtype not in (
        torch.float16,
        torch.float32,
        torch.float64,
    ):
        tensor = tensor.float()
    values: NDArray[Any] = tensor.numpy()
    return values


def read_safetensors(path: Path, request: Request) -> Matrix:
    """Return the tensor of a safetensors file that is meant, memory-mapped.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    with ordinary(path).open("rb") as stream:
        if stream.read(4) == b"PK\x03\x04":
            raise ValueError("it is a .pt or .npz archive by its content; rename it")
    try:
        with safe_open(path, framework="numpy") as file:  # checks the header
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(first_line(error)) from None
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = parsed_json(stream.read(length))
    members = [
        _stored_member(path, name, entry, 8 + length)
        for name, entry in header.items()
        if name != "__metadata__"
    ]
    return matrix_of(path, [*members, *_metadata_members(metadata)], request)


def _stored_member(path: Path, name: str, entry: dict[str, Any], start: int) -> Member:
    shape, kind = tuple(entry["shape"]), str(entry["dtype"])
    offset = start + entry["data_offsets"][0]

    def load() -> NDArray[Any]:
        return _stored_values(path, kind, shape, offset)

    numbers = kind != "BOOL" and (kind in _DTYPES or kind in _FLOAT8 or kind == "BF16")
    return Member(
        name=name, shape=shape, kind=kind, is_matrix=len(shape) == 2 and numbers, load=load
    )


def _stored_values(path: Path, kind: str, shape: tuple[int, ...], offset: int) -> NDArray[Any]:
    """Return a stored tensor: a memory map, or float32 where NumPy lacks its kind of number."""
    if not math.prod(shape):
        return np.zeros(shape, _DTYPES.get(kind, "<f4"))

    def mapped(dtype: str) -> NDArray[Any]:
        return np.memmap(path, dtype, "r", offset=offset, shape=shape)

    if kind in _DTYPES:
        return mapped(_DTYPES[kind])
    if kind == "BF16":  # the upper half of a float32
        return (mapped("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    if kind in _FLOAT8:
        import torch

        number = getattr(torch, _FLOAT8[kind])
        return np.asarray(torch.from_numpy(np.array(mapped("u1"))).view(number).float())
    raise ValueError(f"numbers of the kind {kind} are not read; save float32")


def _metadata_members(metadata: dict[str, str]) -> Iterator[Member]:
    """Yield the lists in a file's metadata, which holds texts: JSON, or ids with commas."""
    for name, text in metadata.items():
        try:
            value = parsed_json(text)
        except ValueError:
            value = [
                word.strip() for word in re.split(r"[\n,|;]" if "," not in text else ",", text)
            ]
        if isinstance(value, list | dict):
            yield from members_in({name: value}, name, lambda *_: None)
