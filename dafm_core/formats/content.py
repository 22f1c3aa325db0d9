"""What a file holds once it is read: a matrix with the lists of ids beside it, or ranked lists.

Every reader of an import format returns one of the two; ``alignment.py`` and ``lists.py`` bring
them into a store's order. Nothing is read here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.errors import SimilarityError

Axis: TypeAlias = Literal["rows", "columns"]
Order: TypeAlias = Literal["score", "rank"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user says about a file beyond its path.

    Parameters
    ----------
    key : str, optional
        Which array, or which column of scores, where a file holds several.
    features : bool
        Whether the file holds one vector per row, so that its columns have no ids.
    order : {"score", "rank"}, optional
        Which of the two decides where a file has both and they contradict each other.
    distance : bool
        Whether lower scores are better.
    ignore : tuple of str
        Members of the file that are no ids, whatever their length.
    key_option : str
        What the command line calls ``key``, for messages.
    """

    key: str | None = None
    features: bool = False
    order: Order | None = None
    distance: bool = False
    ignore: tuple[str, ...] = ()
    key_option: str = "--key"


@dataclass(frozen=True, kw_only=True)
class Label:
    """A list beside a matrix that may name its rows or its columns.

    Parameters
    ----------
    name : str
        What the file calls it.
    length : int
    ids : tuple of str or None
        None where its values cannot be ids: fractions, truth values, objects.
    axis : {"rows", "columns"} or None
        Which of the two it names; None where the name does not say, and the ids must.
    beside : bool
        Whether it stands in a file of its own beside the matrix, as ``dafm fuse`` writes it. A list
        that the user gives then counts more.
    """

    name: str
    length: int
    ids: tuple[str, ...] | None = field(repr=False)
    axis: Axis | None = None
    beside: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """A two-dimensional array of numbers, and every list in the file that may name an axis of it.

    Parameters
    ----------
    path : Path
        For messages.
    values : ndarray of shape (n_rows, n_columns)
        May be a memory map.
    labels : tuple of Label

    Raises
    ------
    SimilarityError
        If the values are no two-dimensional array of numbers.
    """

    path: Path
    values: NDArray[Any] = field(repr=False)
    labels: tuple[Label, ...] = ()

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.dtype.kind not in "fiu":
            raise SimilarityError(
                f"{self.path}: expected a two-dimensional array of numbers, got shape "
                f"{self.values.shape} of {self.values.dtype}."
            )

    def length(self, axis: Axis) -> int:
        """Return the number of rows or of columns."""
        return int(self.values.shape[0 if axis == "rows" else 1])


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedLists:
    """Scored candidates of many queries, in any order.

    Parameters
    ----------
    path : Path
        For messages.
    frame : polars.DataFrame
        Columns ``query_id, image_id`` (strings) and ``score`` (float64, higher is better).
    order : {"score", "rank"}
        What decides the order: the file's scores, or its ranks where it has nothing else; a score
        is then minus the rank.
    """

    path: Path
    frame: pl.DataFrame = field(repr=False)
    order: Order = "score"


Content: TypeAlias = Matrix | RankedLists


def as_text(value: Any) -> str | None:
    """Return an id as text, or None where a value cannot be an id.

    Examples
    --------
    >>> as_text("img01"), as_text(7), as_text(7.0), as_text(b"x"), as_text(0.5), as_text(True)
    ('img01', '7', '7.0', 'x', None, None)
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return None
