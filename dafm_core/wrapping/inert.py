"""Harmless things that authors save beside tensors and arrays, read without executing anything.

A pickle names classes and functions to be called when it is read. Checkpoints and arrays of other
people hold a few such names again and again: a NumPy scalar or array, an ``argparse.Namespace``, a
``defaultdict``, a path. Here each of these names stands for a plain value: a mapping, a text, an
array that was checked first. Nothing of what the file names is imported or called, and every other
name is refused.
"""

from __future__ import annotations

import ast
import io
import math
import pickle
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.sources import ordinary, source_array

_SIMPLE_KINDS: Final = "biufcSU"
"""Kinds of numbers and texts whose bytes mean nothing but their value."""


class _Dtype:
    """The dtype that a pickle describes, as a text; no NumPy code sees its description."""

    def __init__(self, code: Any = "O", *_: Any) -> None:
        self.code, self.byte_order = str(code), "<"

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.byte_order = ">" if state[1] == ">" else "<"

    def simple(self) -> np.dtype[Any] | None:
        """Return the dtype of numbers or texts; None for objects."""
        if self.code in ("O", "O8", "|O"):
            return None
        dtype = np.dtype(self.code)
        if dtype.kind not in _SIMPLE_KINDS:
            raise pickle.UnpicklingError(f"an array of {dtype} is not read")
        return dtype.newbyteorder(">" if self.byte_order == ">" else "<")


class _Array(np.ndarray[Any, np.dtype[Any]]):
    """An array whose description is checked before NumPy takes it over."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, _Dtype) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array is described in an unknown way")
        simple, size = dtype.simple(), math.prod(shape)
        expected, length = (list, size) if simple is None else (bytes, size * simple.itemsize)
        if type(data) is not expected or len(data) != length:
            raise pickle.UnpicklingError("an array holds less than it says")
        checked: Any = (1, tuple(shape), simple or np.dtype(object), bool(is_fortran), data)
        super().__setstate__(checked)


def _new_array(*_: Any) -> _Array:
    return np.ndarray.__new__(_Array, (0,))


def _scalar(dtype: Any, data: Any = None) -> Any:
    """Return a NumPy scalar as a Python value."""
    simple = dtype.simple() if isinstance(dtype, _Dtype) else None
    if simple is None or type(data) is not bytes or len(data) != simple.itemsize:
        raise pickle.UnpicklingError("a scalar is described in an unknown way")
    return np.frombuffer(data, simple)[0].item() if simple.itemsize else simple.type()


def _path(*parts: Any) -> str:
    return str(PurePosixPath(*(part for part in parts if isinstance(part, str))))


def _mapping(*_: Any) -> dict[Any, Any]:
    return {}


def _nothing(*_: Any) -> None:
    return None


def _no_bytes(*_: Any) -> bytes:
    return b""


def _tuple(items: Iterable[Any] = ()) -> tuple[Any, ...]:
    return tuple(items) if isinstance(items, list | tuple | set) else ()


class Inert:
    """Stands for a class whose objects nobody needs: made without arguments' effect, kept empty."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


STAND_INS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "numpy.dtype": _Dtype,
        "numpy.ndarray": _Array,
        **{
            f"numpy.{core}.multiarray.{name}": stand_in
            for core in ("core", "_core")
            for name, stand_in in (("_reconstruct", _new_array), ("scalar", _scalar))
        },
        "collections.defaultdict": _mapping,
        # records: attributes and items are kept, methods are not
        "argparse.Namespace": OrderedDict,
        "types.SimpleNamespace": OrderedDict,
        "easydict.EasyDict": OrderedDict,
        "yacs.config.CfgNode": OrderedDict,
        "pytorch_lightning.utilities.parsing.AttributeDict": OrderedDict,
        "lightning_fabric.utilities.data.AttributeDict": OrderedDict,
        "lightning.fabric.utilities.data.AttributeDict": OrderedDict,
        **{
            f"omegaconf.{name}": OrderedDict
            for name in (
                *("dictconfig.DictConfig", "listconfig.ListConfig"),
                *("base.ContainerMetadata", "base.Metadata"),
                *(f"nodes.{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean")),
            )
        },
        "typing.Any": _nothing,
        "datetime.datetime": _nothing,
        "datetime.date": _nothing,
        "datetime.timedelta": _nothing,
        "torch.torch_version.TorchVersion": str,
        **{
            f"{module}.{name}": _path
            for module in ("pathlib", "pathlib._local")
            for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
        },
        # what a defaultdict makes for a missing key; types of numbers
        **{f"builtins.{name}": _nothing for name in ("int", "float", "str", "bool", "list")},
        "builtins.dict": _mapping,
        "builtins.bytes": _no_bytes,  # of an array without values
        "builtins.frozenset": _tuple,
        "builtins.tuple": _tuple,
        **{
            f"numpy.{name}": _nothing
            for name in ("float64", "float32", "float16", "int64", "int32", "int16", "int8")
        },
    }
)
"""What stands for each harmless name, by module and name."""


def safe_globals() -> list[Any]:
    """Return the stand-ins in the form that ``torch.serialization.safe_globals`` takes."""
    return [(stand_in, name) for name, stand_in in STAND_INS.items()]


class _Unpickler(pickle.Unpickler):
    """Reads a pickle whose every name is one of the stand-ins."""

    _LITERALS: Final[Mapping[str, Any]] = {
        "collections.OrderedDict": OrderedDict,
        "collections.Counter": Counter,
        "builtins.set": set,
        "_codecs.encode": lambda text, *_: text.encode("latin1"),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name; raise UnpicklingError for a name that is not harmless."""
        full = f"{module}.{name}"
        for table in (STAND_INS, self._LITERALS):
            if full in table:
                return table[full]
        raise pickle.UnpicklingError(f"it would execute {full}")


def read_numpy(path: Path, *, mmap: bool = False) -> Any:
    """Return the array of an ``.npy`` file, one of objects included where they are harmless.

    Raises
    ------
    OSError, EOFError
        If the file cannot be read.
    ValueError
        If it is damaged, or reading it would execute something.
    """
    with ordinary(path).open("rb") as file:
        if numpy_header(file) is None:  # of objects
            return _read_objects(file)
    array = source_array(path)
    return array if mmap else np.array(array)


def read_numpy_member(archive: zipfile.ZipFile, name: str) -> Any:
    """Return one array of an ``.npz`` file, as :func:`read_numpy` does."""
    with archive.open(name) as file:
        data = io.BytesIO(file.read())
    header = numpy_header(data)
    if header is None:
        return _read_objects(data)
    if math.prod(header[0]) * header[1].itemsize > len(data.getbuffer()) - data.tell():
        raise ValueError("it is shorter than its header says")
    data.seek(0)
    return np.lib.format.read_array(data, allow_pickle=False)


def numpy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Return shape and dtype of the array that follows, or None where it is one of objects.

    Raises
    ------
    ValueError
        If this is no NumPy array.
    """
    shape, description = _read_header(file)
    if "O" in str(description):
        return None
    try:
        return shape, np.lib.format.descr_to_dtype(description)
    except Exception:  # NumPy raises whatever the description makes it stumble over
        raise ValueError("its header is damaged") from None


def object_shape(file: IO[bytes]) -> tuple[int, ...]:
    """Return the shape of the array that follows, whatever it holds."""
    return _read_header(file)[0]


_TOO_DEEP = (RecursionError, MemoryError)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], Any]:
    version = np.lib.format.read_magic(file)
    n_bytes = 2 if version == (1, 0) else 4
    length = int.from_bytes(file.read(n_bytes), "little")
    if length > 1 << 20:
        raise ValueError(f"its header of {length} bytes is too long")
    text = file.read(length).decode("utf-8" if version == (3, 0) else "latin1")
    try:
        header = ast.literal_eval(text.strip())
        return tuple(int(n) for n in header["shape"]), header["descr"]
    except (SyntaxError, TypeError, LookupError, ValueError, ArithmeticError, *_TOO_DEEP):
        raise ValueError("its header is damaged") from None


def _read_objects(file: IO[bytes]) -> NDArray[Any]:
    """Return an array of objects; the header of the file has been read."""
    try:
        value = _Unpickler(file).load()
    except Exception as error:  # a damaged or hostile pickle may raise anything: all is bad input
        raise ValueError(
            f"it holds Python objects, and {str(error) or type(error).__name__}; nothing was "
            "executed. Save numbers and texts only"
        ) from None
    if not isinstance(value, np.ndarray):
        raise ValueError("it holds Python objects that are no array. Save numbers and texts only")
    return np.asarray(value)
