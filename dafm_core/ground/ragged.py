"""Lists of different lengths as two flat arrays: targets, subsets and exclusions of many queries
at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of integers: row i is ``values[offsets[i]:offsets[i + 1]]``.

    Parameters
    ----------
    offsets : ndarray of shape (n_rows + 1,), int64
    values : ndarray of shape (offsets[-1],), int64
    """

    offsets: NDArray[np.int64]
    values: NDArray[np.int64]

    @classmethod
    def from_rows(cls, rows: Iterable[ArrayLike]) -> Ragged:
        """Return the rows as one object."""
        arrays = [np.asarray(row, dtype=np.int64) for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(a) for a in arrays])]).astype(np.int64)
        values = np.concatenate(arrays) if arrays else np.empty(0, np.int64)
        return cls(offsets, values.astype(np.int64))

    @classmethod
    def from_ids(cls, rows: Sequence[Sequence[str] | None], index: Mapping[str, int]) -> Ragged:
        """Return positions of ids; ids that are not in ``index`` are left out."""
        found = [[index[i] for i in row or () if i in index] for row in rows]
        offsets = np.cumsum([0, *map(len, found)], dtype=np.int64)
        return cls(offsets, np.fromiter(chain.from_iterable(found), np.int64, offsets[-1]))

    @classmethod
    def empty(cls, n_rows: int) -> Ragged:
        """Return ``n_rows`` rows without values."""
        return cls(np.zeros(n_rows + 1, np.int64), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.int64]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return (self[row] for row in range(len(self)))

    @property
    def counts(self) -> NDArray[np.int64]:
        """Length of each row, shape (n_rows,)."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row of each value, shape (n_values,); ``matrix[r.rows, r.values]`` picks every cell
        named.
        """
        return np.repeat(np.arange(len(self)), self.counts)

    def padded(self) -> NDArray[np.int64]:
        """Return the rows as a matrix, (n_rows, longest): a shorter one repeats its last value.

        Every row has one at least.

        Examples
        --------
        >>> Ragged.from_rows([[4, 2], [7]]).padded().tolist()
        [[4, 2], [7, 7]]
        """
        counts = self.counts
        steps = np.arange(counts.max(initial=0))
        padded: NDArray[np.int64] = self.values[
            self.offsets[:-1, None] + np.minimum(steps, counts[:, None] - 1)
        ]
        return padded

    def take(self, rows: ArrayLike) -> Ragged:
        """Return the rows in another order or a selection of them."""
        chosen = np.asarray(rows, dtype=np.int64)
        counts = self.offsets[chosen + 1] - self.offsets[chosen]  # not all: a few may be asked for
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        shift = np.repeat(self.offsets[chosen] - offsets[:-1], counts)
        return Ragged(offsets, self.values[np.arange(offsets[-1]) + shift])

    def part(self, rows: slice) -> Ragged:
        """Return consecutive rows; values are not copied."""
        offsets = self.offsets[rows.start : rows.stop + 1]
        return Ragged(offsets - offsets[0], self.values[offsets[0] : offsets[-1]])

    def relabel(self, new: NDArray[np.int64]) -> Ragged:
        """Return the same rows with each value v replaced by ``new[v]``; negative replacements are
        dropped.
        """
        values = new[self.values]
        keep = values >= 0
        counts = np.bincount(self.rows[keep], minlength=len(self))
        return Ragged(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), values[keep])

    def without(self, other: Ragged) -> Ragged:
        """Return each row's values that are not in the other's row: each once, ascending."""
        width = self._width(other)
        kept = np.setdiff1d(self._cells(width), other._cells(width))
        return Ragged._of_cells(kept, len(self), width)

    def union(self, other: Ragged) -> Ragged:
        """Return the values of both in each row: each once, ascending."""
        width = self._width(other)
        both = np.union1d(self._cells(width), other._cells(width))
        return Ragged._of_cells(both, len(self), width)

    def where(self, kept: NDArray[np.bool_]) -> Ragged:
        """Return the rows that are kept, and no value in the others."""
        counts = np.where(kept, self.counts, 0)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Ragged(offsets, self.values[kept[self.rows]])

    def holds(self, values: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say of one value for each row whether it is there."""
        width = 1 + max(int(self.values.max(initial=0)), int(values.max(initial=0)))
        inside = np.isin(np.arange(len(self)) * width + values, self._cells(width))
        found: NDArray[np.bool_] = inside & (values >= 0)
        return found

    def _width(self, other: Ragged) -> int:
        return 1 + max(int(self.values.max(initial=0)), int(other.values.max(initial=0)))

    def _cells(self, width: int) -> NDArray[np.int64]:
        """Return each value as the cell of a matrix with so many columns."""
        return self.rows * width + self.values

    @classmethod
    def _of_cells(cls, cells: NDArray[np.int64], n_rows: int, width: int) -> Ragged:
        """Return cells, ascending, as rows."""
        offsets = np.searchsorted(cells, np.arange(n_rows + 1) * width)
        return cls(offsets.astype(np.int64), cells % width)
