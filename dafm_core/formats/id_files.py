"""Lists of ids in files of their own: text, one a line; JSON; a NumPy array."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dafm_core.errors import DatasetError
from dafm_core.formats.content import as_text
from dafm_core.ground.files import read_ids
from dafm_core.ground.printable import first_line
from dafm_core.ground.sources import source_json


def read_id_file(path: str | Path) -> tuple[str, ...]:
    """Return the ids that a file lists, in order.

    Parameters
    ----------
    path : path
        ``.json``: a list; or an object of positions by id, of ids by position, or with an id as
        each key (CIRR's split files). ``.npy``: a one-dimensional array of text or whole numbers.
        Any other suffix: text, one id a line.

    Raises
    ------
    DatasetError
        If the file cannot be read, or lists no ids.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".json", ".npy"):
        return read_ids(path)
    try:
        if suffix == ".json":
            value: Any = source_json(path)
        else:
            from dafm_core.wrapping.inert import read_numpy

            value = read_numpy(path)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path}: expected a list of ids ({first_line(error)}).") from None
    ids = ids_in(value)
    if ids is None and isinstance(value, Mapping):
        ids = tuple(str(key) for key in value)
    if not ids:
        raise DatasetError(f"{path}: expected a list of ids, got {type(value).__name__}.")
    return ids


def ids_in(value: Any) -> tuple[str, ...] | None:
    """Return the ids that a list, an array or an object of positions holds; None where it is none.

    Examples
    --------
    >>> ids_in(["b", "a"]), ids_in(np.array([[3], [1]]))
    (('b', 'a'), ('3', '1'))
    >>> ids_in({"b": 1, "a": 0}), ids_in({"1": "b", "0": "a"})
    (('a', 'b'), ('a', 'b'))
    >>> ids_in([0.5, 1.0]) is None
    True
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu().tolist()
    if isinstance(value, np.ndarray):
        if value.ndim != 1:
            if value.size != max(value.shape, default=0):
                return None
            value = value.ravel()
        value = value.tolist()
    if isinstance(value, Mapping):
        return _by_position(value)
    if isinstance(value, set | frozenset | str | bytes) or not hasattr(value, "__iter__"):
        return None
    ids = [as_text(name) for name in value]
    return None if None in ids else tuple(ids)  # type: ignore[arg-type]


def _by_position(value: Mapping[Any, Any]) -> tuple[str, ...] | None:
    """Return the ids of ``{id: position}`` or ``{position: id}``, by position."""
    n = len(value)
    positions = [as_text(place) for place in value.values()]
    if set(positions) == {str(i) for i in range(n)}:
        names = [as_text(name) for name in value]
        pairs = zip(positions, names, strict=True)
    else:
        positions = [as_text(place) for place in value]
        if set(positions) != {str(i) for i in range(n)}:
            return None
        pairs = zip(positions, [as_text(name) for name in value.values()], strict=True)
    ids = [name for _, name in sorted(pairs, key=lambda pair: int(pair[0] or 0))]
    return None if None in ids else tuple(ids)  # type: ignore[arg-type]
