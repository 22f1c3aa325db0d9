"""Matrices and features in a file's order become rows in a store's order, aligned by id.

What is aligned here is read by ``matrix_files.py``; lists of candidates are aligned by
``ranked_lists.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import AlignmentError, OptionError, SimilarityError
from dafm_core.formats.matrices import NamedArray, read_ids


@dataclass(frozen=True, eq=False)
class MatrixRows:
    """A matrix whose rows and columns stand in another order than the store's."""

    values: NDArray[Any]
    row_order: NDArray[np.int64] | None
    column_order: NDArray[np.int64] | None
    sign: float

    def rows(self, start: int, stop: int, dtype: str) -> NDArray[Any]:
        """Return scores ``(stop - start, n_gallery)``."""
        wanted = slice(start, stop) if self.row_order is None else self.row_order[start:stop]
        block = self.values[wanted]
        if self.column_order is not None:
            block = block[:, self.column_order]
        if self.sign < 0:
            block = -block.astype(np.float64)  # unsigned integers have no negative
        with np.errstate(over="ignore"):
            return block.astype(dtype)


@dataclass(frozen=True, eq=False)
class ProductRows:
    """Dot products of query and gallery vectors."""

    queries: NDArray[np.float32]
    gallery: NDArray[np.float32]

    def rows(self, start: int, stop: int, dtype: str) -> NDArray[Any]:
        """Return scores ``(stop - start, n_gallery)``."""
        with np.errstate(over="ignore", invalid="ignore"):
            return (self.queries[start:stop] @ self.gallery.T).astype(dtype)


def with_ids(
    array: NamedArray, query_ids: str | Path | None, gallery_ids: str | Path | None
) -> NamedArray:
    """Return the array with the ids that text files list for it."""
    given = (
        ("query_ids", query_ids, array.row_ids),
        ("gallery_ids", gallery_ids, array.column_ids),
    )
    for what, path, known in given:
        if path is not None and known is not None:
            raise OptionError(f"{array.path}: has its own ids; leave {what} ({path}) out.")
    return replace(
        array,
        row_ids=array.row_ids if query_ids is None else read_ids(query_ids),
        column_ids=array.column_ids if gallery_ids is None else read_ids(gallery_ids),
    )


def align_matrix(array: NamedArray, dataset: Dataset, *, sign: float = 1.0) -> MatrixRows:
    """Return the matrix by a dataset's rows and columns, times ``sign``.

    Raises
    ------
    AlignmentError
        If ids are unknown, missing or stand twice.
    SimilarityError
        If there are no ids and the shape is another.
    """
    expected = (dataset.n_queries, dataset.n_gallery)
    where = str(array.path)
    rows = _order(array.row_ids, dataset.query_ids, what="query", where=where)
    columns = _order(array.column_ids, dataset.gallery_ids, what="image", where=where)
    if array.values.shape != expected:
        turned = " It looks transposed." if array.values.shape == expected[::-1] else ""
        raise SimilarityError(
            f"{where}: expected {expected} (queries, gallery), got {array.values.shape}.{turned} "
            "Give id lists if it holds other queries or images."
        )
    return MatrixRows(array.values, rows, columns, sign)


def align_features(
    array: NamedArray, ids: Sequence[str], *, what: str, unit: bool
) -> NDArray[np.float32]:
    """Return features in the order of ``ids``, of unit length where asked.

    Raises
    ------
    AlignmentError
        If ids are unknown, missing or stand twice.
    SimilarityError
        If the number of rows is another, a value is NaN or infinite, or a vector that should have
        unit length is zero.
    """
    where = str(array.path)
    order = _order(array.row_ids, ids, what=what, where=where)
    if len(array.values) != len(ids):
        raise SimilarityError(f"{where}: expected {len(ids)} rows, got {len(array.values)}.")
    vectors = np.array(array.values if order is None else array.values[order], dtype=np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise SimilarityError(
            f"{where}: expected finite features, those of {what} {ids[int(np.argmin(finite))]!r} "
            "are not."
        )
    if unit:
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not norms.all():
            raise SimilarityError(
                f"{where}: the features of {what} {ids[int(np.argmin(norms))]!r} are zero, and "
                "have no cosine."
            )
        vectors /= norms
    return vectors


def _order(
    given: Sequence[str] | None, wanted: Sequence[str], *, what: str, where: str
) -> NDArray[np.int64] | None:
    """Return where each wanted id stands, None where the order is the same already."""
    if given is None or tuple(given) == tuple(wanted):
        return None
    position = {name: i for i, name in enumerate(given)}
    problems: dict[str, list[str]] = {
        "stand twice": [name for i, name in enumerate(given) if position[name] != i],
        "are unknown to the store": sorted(position.keys() - set(wanted)),
        "are missing": [name for name in wanted if name not in position],
    }
    for problem, names in problems.items():
        if names:
            raise AlignmentError(
                f"{where}: {len(names)} {what} ids {problem}, e.g. {names[0]!r}. "
                "Is it the same split?"
            )
    return np.array([position[name] for name in wanted], dtype=np.int64)
