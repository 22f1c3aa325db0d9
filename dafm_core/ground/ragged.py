"""Lists of different lengths as two flat arrays: targets, subsets and exclusions of many queries
at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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
        return cls.from_rows([[index[i] for i in row or () if i in index] for row in rows])

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

    def take(self, rows: ArrayLike) -> Ragged:
        """Return the rows in another order or a selection of them."""
        return Ragged.from_rows([self[int(row)] for row in np.asarray(rows, dtype=np.int64)])

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
