"""What Python hands over for a stack, checked: scores, neighbours, passports.

What a store holds was checked when it was written, and is not read again for this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import AlignmentError, SimilarityError
from dafm_core.store.rows import TILE_BYTES
from dafm_core.store.shortlist import Shortlist

MAX_COLLAPSED: Final = 0.01
"""Share of the cells that may become equal to another in float32 although they differ as given;
more is refused, for the ranking would be another."""


def given_matrix(
    name: str, matrix: ArrayLike | Shortlist, dataset: Dataset, *, checked: bool
) -> NDArray[Any] | Shortlist:
    """Return a provider's rows as an array, or the shortlist that it is.

    Raises
    ------
    SimilarityError
        For another shape, and unless ``checked`` for what is no number that float32 holds, masked
        cells, -inf where nothing is excluded, and scores that float32 does not tell apart.
    """
    shape = (dataset.n_queries, dataset.n_gallery)
    array = matrix if isinstance(matrix, Shortlist) else np.asanyarray(matrix)
    if array.shape != shape:
        raise SimilarityError(
            f"provider {name!r}: expected a matrix of shape {shape}, got {array.shape}. "
            "Rows follow queries, columns follow the gallery."
        )
    if isinstance(array, Shortlist) or checked:
        return array
    if array.dtype.kind not in "fiu":
        raise SimilarityError(
            f"provider {name!r}: expected real numbers, got {array.dtype}. Give float32."
        )
    if np.ma.is_masked(array):
        raise SimilarityError(
            f"provider {name!r}: expected scores, got masked cells. Give the rows as a Shortlist "
            "if they are incomplete."
        )
    _check_cells(name, array, dataset)
    return array


def _check_cells(name: str, matrix: NDArray[Any], dataset: Dataset) -> None:
    n_collapsed, n_columns = 0, max(1, matrix.shape[1])
    step = max(1, TILE_BYTES // (4 * n_columns))
    excluded = dataset.excluded.rows * n_columns + dataset.excluded.values
    for start in range(0, len(matrix), step):
        given = np.asarray(matrix[start : start + step])
        with np.errstate(over="ignore"):
            block = given.astype(np.float32, copy=False)
        rows, columns = np.nonzero(~np.isfinite(block))
        masked = np.isneginf(given[rows, columns].astype(np.float64))
        masked &= np.isin((rows + start) * n_columns + columns, excluded)
        if not masked.all():
            bad = int(np.argmin(masked))
            row, column = int(rows[bad]), int(columns[bad])
            got = "NaN" if np.isnan(block[row, column]) else f"{given[row, column]:+g}"
            raise SimilarityError(
                f"provider {name!r}: expected scores that float32 holds, got {got} for query "
                f"{dataset.query_ids[start + row]!r}, image "
                f"{dataset.gallery_ids[column]!r}. Only excluded images may have -inf; give the "
                "rows as a Shortlist if they are incomplete."
            )
        if not np.can_cast(given.dtype, np.float32, "safe"):
            n_collapsed += n_distinct(given) - n_distinct(block)
    if n_collapsed > MAX_COLLAPSED * matrix.size:
        raise SimilarityError(
            f"provider {name!r}: expected scores that float32 tells apart, got {n_collapsed} of "
            f"{matrix.size} that differ and become equal. Take each query's mean away, or divide "
            "by a common factor."
        )


def n_distinct(rows: NDArray[Any]) -> int:
    """Count different values, row by row."""
    if not rows.shape[1]:
        return 0
    ordered = np.sort(rows, axis=1)
    return int((ordered[:, 1:] != ordered[:, :-1]).sum()) + len(rows)


def check_beside(
    names: tuple[str, ...],
    n_gallery: int,
    *,
    passports: Mapping[str, Any],
    neighbours: Mapping[str, NDArray[np.int32]],
) -> None:
    """Raise AlignmentError for what stands beside the scores and does not belong to them."""
    for what, given in (("passports", passports), ("neighbours", neighbours)):
        if strange := sorted(set(given) - set(names)):
            raise AlignmentError(f"stack: {what} of {strange[0]!r}, which has no matrix.")
    for name, nearest in neighbours.items():
        found = np.asarray(nearest)
        if found.ndim != 2 or len(found) != n_gallery or found.dtype.kind not in "iu":
            raise AlignmentError(
                f"provider {name!r}: expected neighbours as whole numbers of shape ({n_gallery}, "
                f"M), got {found.dtype} of shape {found.shape}."
            )
        if found.size and not (found.min() >= -1 and found.max() < n_gallery):
            raise AlignmentError(
                f"provider {name!r}: expected neighbours from 0 to {n_gallery - 1}, or -1, got "
                f"{int(found.min())} to {int(found.max())}."
            )
