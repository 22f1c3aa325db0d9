"""Reading published annotation files: JSON with checked fields, paths that stay in their folder.

What the fields mean is known by the module of each dataset; nothing here opens an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from dafm_core.errors import DatasetError, OptionError, closest
from dafm_core.ground.sources import distinct_keys, source_json

T = TypeVar("T")


def read_json(path: Path, kind: type[T]) -> T:
    """Return the content of a JSON file whose top level is a ``list`` or a ``dict``.

    Raises
    ------
    DatasetError
        If there is no such file, it is not JSON, its top level is of another kind, or a key of an
        object stands twice in it.
    """
    try:
        content = source_json(path, distinct_keys)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file. Check the dataset's path and split.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path}: expected JSON, got a file that fails to parse ({error})."
        ) from None
    if not isinstance(content, kind):
        raise DatasetError(
            f"{path}: expected a JSON {kind.__name__}, got a {type(content).__name__}. "
            "Is this the published file?"
        )
    return content


def checked(record: Any, name: str, kind: type[T], *, where: str) -> T:
    """Return a record's field; raise DatasetError that names file, record and field if it is not
    there or of another kind.

    Examples
    --------
    >>> checked({"pairid": 7}, "pairid", int, where="cap.json: query 0")
    7
    """
    if not isinstance(record, Mapping) or name not in record:
        known = record if isinstance(record, Mapping) else ()
        raise DatasetError(f"{where}: expected a field {name!r}{closest(name, map(str, known))}")
    value = record[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DatasetError(
            f"{where}: expected {name!r} to be of type {kind.__name__}, got {value!r}."
        )
    return value


def checked_list(record: Any, name: str, kind: type[T], *, where: str) -> list[T]:
    """Return a record's field as a list of one kind, checked like :func:`checked`."""
    values = checked(record, name, list, where=where)
    if not all(isinstance(value, kind) and not isinstance(value, bool) for value in values):
        raise DatasetError(
            f"{where}: expected {name!r} to list values of type {kind.__name__}, got {values!r}."
        )
    return values


def choose(value: str, known: Sequence[str], *, where: str) -> str:
    """Return ``value`` if it is one of ``known``; else raise OptionError with the closest match."""
    if value not in known:
        raise OptionError(f"{where}: got {value!r}{closest(value, known)}")
    return value


def image_folder(
    given: str | Path | None, candidates: Iterable[Path], *, below: str = ".", where: str
) -> Path | None:
    """Return the image folder a user gave, else the first candidate there is, else None.

    Parameters
    ----------
    given : path or None
    candidates : iterable of Path
    below : str
        A folder that must be inside it.

    Raises
    ------
    DatasetError
        If the given folder, or ``below`` inside it, does not exist.
    """
    if given is None:
        return next((path for path in candidates if (path / below).is_dir()), None)
    folder = Path(given)
    if not (folder / below).is_dir():
        raise DatasetError(
            f"{where}: image folder {folder / below} does not exist. Check option 'images'."
        )
    return folder


def inside(folder: Path, relative: str, *, where: str) -> Path:
    """Return ``folder / relative``; raise DatasetError if that leads out of the folder.

    Nothing is looked up on disk.
    """
    path = PurePosixPath(relative.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0]:
        raise DatasetError(f"{where}: expected a path inside {folder}, got {relative!r}.")
    if "\0" in relative or any(len(part.encode("utf-8", "replace")) > 255 for part in path.parts):
        raise DatasetError(f"{where}: expected a path that can be, got {relative[:80]!r}.")
    return folder.joinpath(*path.parts)


def images_by_stem(folder: Path, ids: Iterable[str]) -> dict[str, Path]:
    """Return the file of each id, whatever its extension, from one listing of a flat folder."""
    files = {path.stem: path for path in sorted(folder.iterdir(), reverse=True)}
    return {image_id: files[image_id] for image_id in ids if image_id in files}
