"""Matrices and features in a file's order become rows in a store's order, aligned by id.

What is aligned here is read by ``readers.py``; lists of candidates are aligned in ``lists.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import AlignmentError, OptionError, SimilarityError
from dafm_core.formats.content import Axis, Label, Matrix
from dafm_core.formats.id_files import read_id_file
from dafm_core.formats.matching import Match, find_rule, match_all, match_or_explain
from dafm_core.ground.normalize import unit_rows
from dafm_core.store.given import n_distinct

_IDS: Final[dict[Axis, str]] = {"rows": "query", "columns": "image"}


@dataclass(frozen=True, eq=False)
class MatrixRows:
    """A matrix whose rows and columns stand in another order than the store's.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)
    row_order, column_order : ndarray of int64 or None
        Where each row and column of the store stands; None where the order is the same.
    sign : float
    left_out : tuple of (int, int)
        Rows and columns of the file that the store does not have.
    """

    values: NDArray[Any]
    row_order: NDArray[np.int64] | None
    column_order: NDArray[np.int64] | None
    sign: float
    left_out: tuple[int, int] = (0, 0)

    def rows(self, start: int, stop: int, dtype: str) -> NDArray[Any]:
        """Return scores ``(stop - start, n_gallery)``."""
        block = self._block(start, stop)
        if self.sign < 0:
            block = -block.astype(np.float64)  # unsigned integers have no negative
        with np.errstate(over="ignore"):
            return block.astype(dtype)

    def collapsed(self, start: int, stop: int, dtype: str) -> int:
        """Return how many different scores of rows ``start:stop`` become equal in a dtype."""
        if np.can_cast(self.values.dtype, dtype, "safe"):
            return 0
        return n_distinct(self._block(start, stop)) - n_distinct(self.rows(start, stop, dtype))

    def _block(self, start: int, stop: int) -> NDArray[Any]:
        wanted = slice(start, stop) if self.row_order is None else self.row_order[start:stop]
        block = self.values[wanted]
        return block if self.column_order is None else block[:, self.column_order]


@dataclass(frozen=True, eq=False)
class ProductRows:
    """Dot products of query and gallery vectors."""

    queries: NDArray[np.float32]
    gallery: NDArray[np.float32]
    left_out: tuple[int, int] = (0, 0)

    def rows(self, start: int, stop: int, dtype: str) -> NDArray[Any]:
        """Return scores ``(stop - start, n_gallery)``."""
        with np.errstate(over="ignore", invalid="ignore"):
            return (self.queries[start:stop] @ self.gallery.T).astype(dtype)

    def collapsed(self, start: int, stop: int, dtype: str) -> int:
        """Return 0: products are computed here, and have no other precision."""
        return 0


def with_ids(
    matrix: Matrix, query_ids: str | Path | None, gallery_ids: str | Path | None
) -> Matrix:
    """Return the matrix with the ids that files of their own list for its rows and columns.

    Raises
    ------
    OptionError
        If the file itself has ids for the axis.
    DatasetError
        If a list cannot be read.
    """
    lists: dict[Axis, tuple[str, str | Path | None]] = {
        "rows": ("query_ids", query_ids),
        "columns": ("gallery_ids", gallery_ids),
    }
    labels = list(matrix.labels)
    for axis, (option, path) in lists.items():
        if path is None:
            continue
        labels = [label for label in labels if not (label.axis == axis and label.beside)]
        known = [label.name for label in labels if label.axis == axis]
        if known:
            raise OptionError(
                f"{matrix.path}: has its own ids ({known[0]}); leave {option} ({path}) out, or "
                f"--ignore {known[0]}."
            )
        ids = read_id_file(path)
        labels.append(Label(name=str(path), length=len(ids), ids=ids, axis=axis))
    return replace(matrix, labels=tuple(labels))


def align_matrix(
    matrix: Matrix, dataset: Dataset, *, sign: float = 1.0, rule: Sequence[str] = ()
) -> MatrixRows:
    """Return the matrix by a dataset's rows and columns, times ``sign``.

    Rows and columns that the dataset does not have are left out.

    Raises
    ------
    AlignmentError
        If ids are missing or stand twice, or a list as long as an axis holds no ids of it.
    SimilarityError
        If there are no ids and the shape is another.
    """
    wanted: dict[Axis, Sequence[str]] = {"rows": dataset.query_ids, "columns": dataset.gallery_ids}
    matches = _match_axes(matrix, wanted, _IDS, rule)
    expected = (dataset.n_queries, dataset.n_gallery)
    shape = tuple(
        len(wanted[axis]) if matches[axis] else matrix.length(axis) for axis in ("rows", "columns")
    )
    if shape != expected:
        turned = " It looks transposed." if matrix.values.shape == expected[::-1] else ""
        raise SimilarityError(
            f"{matrix.path}: expected {expected} (queries, gallery), got {matrix.values.shape}."
            f"{turned} Give id lists if it holds other queries or images."
        )
    rows, columns = matches["rows"], matches["columns"]
    return MatrixRows(
        matrix.values,
        _order(rows, matrix.length("rows")),
        _order(columns, matrix.length("columns")),
        sign,
        (rows.n_left_out if rows else 0, columns.n_left_out if columns else 0),
    )


def align_features(
    matrix: Matrix, ids: Sequence[str], *, what: str, unit: bool, rule: Sequence[str] = ()
) -> tuple[NDArray[np.float32], int]:
    """Return features in the order of ``ids``, of unit length where asked; and rows left out.

    Raises
    ------
    AlignmentError
        If ids are missing or stand twice.
    SimilarityError
        If the number of rows is another, a value is NaN or infinite, or a vector that should have
        unit length is zero.
    """
    where = str(matrix.path)
    match = _match_axes(matrix, {"rows": ids}, {"rows": what}, rule)["rows"]
    if match is None and len(matrix.values) != len(ids):
        raise SimilarityError(f"{where}: expected {len(ids)} rows, got {len(matrix.values)}.")
    order = _order(match, len(matrix.values))
    vectors = np.array(matrix.values if order is None else matrix.values[order], dtype=np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise SimilarityError(
            f"{where}: expected finite features, those of {what} {ids[int(np.argmin(finite))]!r} "
            "are not."
        )
    if unit:
        directed = vectors.any(axis=1)
        if not directed.all():
            raise SimilarityError(
                f"{where}: the features of {what} {ids[int(np.argmin(directed))]!r} are zero, and "
                "have no cosine."
            )
        vectors = unit_rows(vectors)
    return vectors, match.n_left_out if match else 0


def _order(match: Match | None, length: int) -> NDArray[np.int64] | None:
    """Return where each wanted id stands, or None where the order is the same already."""
    if match is None or np.array_equal(match.order, np.arange(length)):
        return None
    return match.order


def _match_axes(
    matrix: Matrix,
    wanted: dict[Axis, Sequence[str]],
    what: dict[Axis, str],
    rule: Sequence[str],
) -> dict[Axis, Match | None]:
    """Return how each axis matches the wanted ids; None for an axis without any list in the file.

    A list that does not say its axis belongs to the one whose ids it holds. Where an axis is left
    without ids, a list that is as long, and holds none, is refused: its order would be ignored.
    """
    of_axis: dict[Axis, list[Label]] = {axis: [] for axis in wanted}
    for label in matrix.labels:
        if label.axis in of_axis:
            of_axis[label.axis].append(label)
    for label in matrix.labels:
        if label.axis is None and (axis := _axis_of(label, matrix, wanted, of_axis, rule)):
            of_axis[axis].append(label)
    for axis, labels in of_axis.items():
        for label in labels:
            _check_length(label, matrix, axis)
    matches = {
        axis: _match_axis(matrix, labels, wanted[axis], rule, what=what[axis])
        for axis, labels in of_axis.items()
    }
    for label in matrix.labels:
        lengths = (axis for axis in wanted if label.length == matrix.length(axis))
        idle = [axis for axis in lengths if matches[axis] is None]
        if idle and not any(label in labels for labels in of_axis.values()):
            kind = what[idle[0]]
            example = f", e.g. {label.ids[0]!r}" if label.ids else ""
            raise AlignmentError(
                f"{matrix.path}: {label.name!r} has an entry for each of the {label.length} "
                f"{idle[0]}, but holds no {kind} ids of the store{example}. If it does not say "
                f"their order, give --ignore {label.name}."
            )
    return matches


def _axis_of(
    label: Label,
    matrix: Matrix,
    wanted: dict[Axis, Sequence[str]],
    of_axis: dict[Axis, list[Label]],
    rule: Sequence[str],
) -> Axis | None:
    """Return the axis whose ids a list holds: as they are, else under a rule; None for neither."""
    ids = label.ids
    if ids is None:
        return None
    fitting = [axis for axis in wanted if label.length == matrix.length(axis)]
    exact = [a for a in fitting if match_all(ids, wanted[a]) or match_all(ids, wanted[a], rule)]
    free = [axis for axis in (exact or fitting) if not of_axis[axis]]
    if not exact:
        return next((axis for axis in free if find_rule(ids, wanted[axis])), None)
    candidates = exact if len(exact) == 1 else free
    if len(candidates) > 1:
        raise AlignmentError(
            f"{matrix.path}: {label.name!r} could name the rows as well as the columns. Give it as "
            f"--query-ids or --gallery-ids in a file of its own, with --ignore {label.name}."
        )
    return candidates[0] if candidates else None


def _check_length(label: Label, matrix: Matrix, axis: Axis) -> None:
    if label.length != matrix.length(axis):
        turned = " It looks transposed." if label.length in matrix.values.shape else ""
        raise SimilarityError(
            f"{matrix.path}: {label.name!r} lists {label.length} ids for {matrix.length(axis)} "
            f"{axis}.{turned} Is it the list of this matrix?"
        )


def _match_axis(
    matrix: Matrix,
    labels: Sequence[Label],
    wanted: Sequence[str],
    rule: Sequence[str],
    *,
    what: str,
) -> Match | None:
    """Return how the lists of one axis match; they must all say the same order."""
    matches: list[Match] = []
    for label in labels:
        where = str(matrix.path) if len(labels) == 1 else f"{matrix.path}: {label.name!r}"
        match = match_or_explain(label.ids or (), wanted, rule, what=what, where=where)
        if matches and not np.array_equal(match.order, matches[0].order):
            raise AlignmentError(
                f"{matrix.path}: {labels[0].name!r} and {label.name!r} list the {what} ids in "
                f"different orders. Choose one: --ignore {label.name} or --ignore {labels[0].name}."
            )
        matches.append(match)
    return matches[0] if matches else None
