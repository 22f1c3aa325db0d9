"""Which member of a file is the matrix, and which lists beside it may name its rows or columns.

For files that hold arrays by name (npz, pt, safetensors) and those that hold one (npy). A member is
read when it is asked for, so that one odd member does not spoil the others. How each format stores
its members is known in ``arrays.py`` and ``tensors.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from dafm_core.errors import OptionError, SimilarityError, closest
from dafm_core.formats.content import Axis, Label, Matrix, Request
from dafm_core.formats.id_files import ids_in
from dafm_core.ground.printable import first_line

ROW_NAMES: Final = frozenset({"queryids", "queryid", "qids", "qid", "rowids", "rownames"})
COLUMN_NAMES: Final = frozenset(
    {"galleryids", "galleryid", "imageids", "imageid", "imgids", "imgid", "columnids"}
    | {"columnnames", "candidateids", "docids"}
)
"""Names that say which axis a list is of, whatever their spelling: ``Gallery_IDs``."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One named value in a file.

    Parameters
    ----------
    name : str
    shape : tuple of int
        Of a list or a mapping: its length.
    kind : str
        What it is, for messages: a dtype, ``list``, ``object``.
    is_matrix : bool
        Whether it is a two-dimensional array of numbers.
    load : callable
        Reads it. May raise ValueError, OSError or RuntimeError.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    is_matrix: bool
    load: Callable[[], Any] = field(repr=False)

    @property
    def length(self) -> int | None:
        """Entries of a flat list; None where it is none."""
        longest = max(self.shape, default=0)
        return longest if self.shape and int(np.prod(self.shape)) == longest else None


def matrix_of(path: Path, members: Sequence[Member], request: Request) -> Matrix:
    """Return the matrix that is meant, with every list that may name its rows or columns.

    Raises
    ------
    OptionError
        For an unknown key, or where several arrays could be meant.
    SimilarityError
        If there is no two-dimensional array of numbers, or it cannot be read.
    """
    names = [member.name for member in members]
    for name in request.ignore:
        if name not in names:
            raise OptionError(f"{path}: no member {name!r} to ignore{closest(name, names)}")
    members = [member for member in members if member.name not in request.ignore]
    chosen = _choose(path, members, request)
    values = np.asarray(_load(path, chosen))
    if values.ndim != 2:
        return Matrix(path=path, values=values)  # which says what is wrong
    lengths: dict[Axis, int] = {"rows": values.shape[0], "columns": values.shape[1]}
    if request.features:
        del lengths["columns"]
    rest = (member for member in members if member is not chosen)
    return Matrix(path=path, values=values, labels=tuple(_labels(path, rest, lengths)))


def _choose(path: Path, members: Sequence[Member], request: Request) -> Member:
    by_name = {member.name: member for member in members}
    option = request.key_option
    if request.key is not None:
        if request.key not in by_name:
            raise OptionError(f"{path}: no array {request.key!r}{closest(request.key, by_name)}")
        return by_name[request.key]
    matrices = [member for member in members if member.is_matrix]
    if len(matrices) > 1:
        listed = ", ".join(sorted(member.name for member in matrices))
        raise OptionError(f"{path}: expected one array, got {listed}. Name one with {option}.")
    if matrices:
        return matrices[0]
    if len(members) == 1:
        return members[0]
    listed = ", ".join(f"{m.name} ({m.kind} {m.shape})" for m in members) or "nothing"
    raise SimilarityError(
        f"{path}: expected a two-dimensional array of numbers, got {listed}. Save scores as one."
    )


def _load(path: Path, member: Member) -> Any:
    try:
        value = member.load()
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, MemoryError) as error:
        raise SimilarityError(
            f"{path}: {member.name!r} cannot be read ({first_line(error)})."
        ) from None
    if not isinstance(value, np.ndarray):
        raise SimilarityError(
            f"{path}: expected {member.name!r} to be an array, got {type(value).__name__}."
        )
    return value


def _labels(path: Path, members: Iterator[Member], lengths: Mapping[Axis, int]) -> Iterator[Label]:
    """Yield every list that is as long as an axis, and those whose name says their axis."""
    for member in members:
        axis = axis_named(member.name) if len(lengths) > 1 else None
        if member.length is None or (axis is None and member.length not in lengths.values()):
            continue
        try:
            ids = ids_in(member.load())
        except (OSError, ValueError, TypeError, RuntimeError, EOFError, MemoryError) as error:
            if axis is not None:
                raise SimilarityError(
                    f"{path}: {member.name!r} cannot be read ({first_line(error)}). Give its ids "
                    f"in a text file, and --ignore {member.name}."
                ) from None
            ids = None
        if ids is None and axis is not None:
            raise SimilarityError(f"{path}: expected {member.name!r} to list ids.")
        yield Label(name=member.name, length=member.length, ids=ids, axis=axis)


def axis_named(name: str) -> Axis | None:
    """Return the axis that the name of a list says, or None.

    Examples
    --------
    >>> axis_named("Gallery_IDs"), axis_named("meta.query-ids"), axis_named("names")
    ('columns', 'rows', None)
    """
    plain = re.sub("[^a-z0-9]", "", name.rpartition(".")[2].lower())
    if plain in ROW_NAMES:
        return "rows"
    return "columns" if plain in COLUMN_NAMES else None


def array_member(name: str, array: np.ndarray[Any, Any]) -> Member:
    """Return an array in memory, or a memory map, as a member."""
    return Member(
        name=name,
        shape=array.shape,
        kind=str(array.dtype),
        is_matrix=array.ndim == 2 and array.dtype.kind in "fiu",
        load=lambda: np.asarray(array),
    )


def members_in(
    content: Any, prefix: str, array: Callable[[str, Any], Member | None]
) -> Iterator[Member]:
    """Yield the members of nested mappings, lists and tuples; names are joined by points.

    Parameters
    ----------
    content : object
    prefix : str
        Name of ``content`` itself, where it is one array.
    array : callable
        Returns the member of a name and an array of the format, or None for anything else.
    """
    yield from _walk(content, "", prefix, array, set())


def _walk(
    value: Any,
    name: str,
    stem: str,
    array: Callable[[str, Any], Member | None],
    above: set[int],
) -> Iterator[Member]:
    member = array(name or stem, value)
    if member is not None:
        yield member
        return
    if isinstance(value, np.ndarray):
        if value.dtype != object or value.shape != ():
            yield array_member(name or stem, value)
            return
        value = value.item()
    if id(value) in above or len(above) > 20:
        return  # a pickle may hold itself
    above = above | {id(value)}
    if isinstance(value, Mapping):
        items = [*value.items(), *vars_of(value)]
        if name and value and all(_is_plain(item) for item in value.values()):
            yield _list_member(name, value)
            items = vars_of(value)
        for key, item in items:
            yield from _walk(item, f"{name}.{key}" if name else str(key), stem, array, above)
    elif isinstance(value, list | tuple):
        if value and all(_is_plain(item) for item in value):
            yield _list_member(name or stem, value)
            return
        if name and value and (axis_named(name) or all(_is_record(item) for item in value)):
            yield _list_member(name, value)  # perhaps one a row: their order would count
            return
        for place, item in enumerate(value[:100]):
            if not _is_plain(item):
                yield from _walk(
                    item, f"{name}.{place}" if name else str(place), stem, array, above
                )


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bytes | int | float | np.generic)


def _is_record(value: Any) -> bool:
    """Whether a value has names for its parts, none of which is an array."""
    return isinstance(value, Mapping) and all(map(_is_plain, value.values()))


def vars_of(value: Any) -> list[tuple[str, Any]]:
    """Return the attributes of a record that was read as a mapping."""
    return list(getattr(value, "__dict__", {}).items())


def _list_member(name: str, value: Any) -> Member:
    return Member(
        name=name,
        shape=(len(value),),
        kind=type(value).__name__,
        is_matrix=False,
        load=lambda: value,
    )
