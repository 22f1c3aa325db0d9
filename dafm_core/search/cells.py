"""What a query bank says of each image of a large gallery, on disk image by image.

A live query looks at a few thousand images of a million: what the bank says of one stands in one
place, in the order of the features' parts, and new images get a part of their own. Their columns
are made under the means and spreads that the bank's rows had when it was made. How those are
learned stands in ``streamed.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.channels.bank import N_PRIOR, QueryBank
from dafm_core.fusion.channels.reverse_ranks import ReverseRanks
from dafm_core.fusion.channels.topics import Topics
from dafm_core.ground.files import replacing
from dafm_core.ground.ids import Ids
from dafm_core.ground.normalize import ColumnStatistics, column_moments
from dafm_core.search.features import GalleryFeatures
from dafm_core.search.moments import BankColumns
from dafm_core.search.stored import stored_arrays
from dafm_core.store.gallery import Gallery

Cells = NDArray[np.float32]
"""Of each image and provider: mean, spread, thresholds and topics, (n, K, 2 + T + H)."""


@dataclass(frozen=True, eq=False)
class BankRows:
    """What is known of a bank's queries: by it an image's cells follow from its column of scores.

    Parameters
    ----------
    mean, std : ndarray of shape (K, B), float64
        Of each query's scores.
    maps : ndarray of shape (K, B, H), float64
        From an image's column to its topics.
    ranks : ndarray of shape (T,), int64
        Ranks whose scores are kept as thresholds.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    maps: NDArray[np.float64]
    ranks: NDArray[np.int64]

    @property
    def width(self) -> int:
        """Numbers of one image and provider, 2 + T + H."""
        return 2 + len(self.ranks) + int(self.maps.shape[2])

    def save(self, path: Path) -> None:
        """Write them, whole or not at all."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, mean=self.mean, std=self.std, maps=self.maps, ranks=self.ranks)

    @classmethod
    def load(cls, path: Path) -> BankRows:
        """Read what :meth:`save` wrote."""
        arrays = stored_arrays(path)
        return cls(arrays["mean"], arrays["std"], arrays["maps"], arrays["ranks"])

    def cells(
        self, names: tuple[str, ...], scores: Mapping[str, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Return the cells of images, from every query's scores of them by provider, (B, n).

        A score is -inf where the query does not ask about the image.
        """
        found = []
        for k, name in enumerate(names):
            wide = (scores[name] - self.mean[k, :, None]) / self.std[k, :, None]
            rows = wide.astype(np.float32)[:, None]  # (B, 1, n)
            statistics = ColumnStatistics.of_moments(column_moments([rows]), n_prior=N_PRIOR)
            columns = statistics.apply(rows)[:, 0]
            columns[~np.isfinite(columns)] = 0
            topics = self.maps[k].T.astype(np.float32) @ columns
            thresholds = ReverseRanks.of(rows).thresholds[:, 0]
            found.append(np.concatenate([statistics.mean, statistics.std, thresholds, topics]).T)
        return np.stack(found, axis=1)


@contextmanager
def writing_cells(
    path: Path, n: int, width: tuple[int, int]
) -> Iterator[Callable[[NDArray[np.int64], Cells], None]]:
    """Give what writes the cells of some rows of a part, ascending; those between are zeros.

    Beside them a file is written that has the means and spreads alone, (n, 2 K): they are what a
    scan of all images reads.

    Parameters
    ----------
    path : Path
    n : int
        Images of the part, removed ones included.
    width : tuple of int
        Providers and numbers of each, (K, 2 + T + H).
    """
    with (
        replacing(path) as temporary,
        replacing(columns_file(path)) as temporary_columns,
        temporary.open("wb") as cells_out,
        temporary_columns.open("wb") as columns_out,
    ):
        _start(cells_out, (n, *width))
        _start(columns_out, (n, 2 * width[0]))
        next_row = 0

        def write(rows: NDArray[np.int64], cells: Cells) -> None:
            nonlocal next_row
            whole = np.zeros((rows[-1] + 1 - next_row, *width), np.float32)
            whole[rows - next_row] = cells
            next_row = rows[-1] + 1
            whole.tofile(cells_out)
            np.concatenate([whole[:, :, 0], whole[:, :, 1]], 1).tofile(columns_out)

        yield write
        if next_row < n:  # the last ones were removed
            write(np.array([n - 1]), np.zeros((1, *width), np.float32))


def columns_file(part: Path) -> Path:
    """Return where the means and spreads of a part stand."""
    return part.with_name(part.name.replace("part", "columns"))


def _start(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


class IndexBank(QueryBank):
    """A bank kept image by image; as whole arrays only where somebody asks for those.

    Parameters
    ----------
    names : tuple of str
    gallery_ids : Ids
    cells : GalleryFeatures of width (K, 2 + T + H)
    rows : BankRows
    places : tuple of int
        Where the providers stand among the cells'.
    """

    cells: GalleryFeatures
    rows: BankRows
    places: tuple[int, ...]

    def __init__(
        self,
        names: tuple[str, ...],
        gallery_ids: Ids,
        cells: GalleryFeatures,
        rows: BankRows,
        places: tuple[int, ...],
    ) -> None:
        self.__dict__.update(
            names=names, gallery_ids=gallery_ids, cells=cells, rows=rows, places=places
        )

    def aligned(self, gallery: Gallery) -> QueryBank:
        """Return the bank for some of its providers, or as :meth:`QueryBank.aligned`."""
        if gallery.ids != self.gallery_ids or not set(gallery.names) <= set(self.names):
            return super().aligned(gallery)
        if gallery.names == self.names:
            return self
        places = tuple(self.places[self.names.index(name)] for name in gallery.names)
        return IndexBank(gallery.names, self.gallery_ids, self.cells, self.rows, places)

    def at(self, columns: NDArray[np.int64]) -> dict[str, BankColumns]:
        """Return what it says of some images, by provider."""
        cells = self.cells.take(columns)
        return {
            name: columns_of(cells[:, k], self.rows.ranks)
            for name, k in zip(self.names, self.places, strict=True)
        }

    @cached_property
    def _whole(self) -> Cells:
        return self.cells.whole()[:, list(self.places)]

    @cached_property
    def statistics(self) -> ColumnStatistics:
        """Mean and spread of every column."""
        return ColumnStatistics(*(np.ascontiguousarray(self._whole[:, :, i].T) for i in (0, 1)))

    @cached_property
    def reverse_ranks(self) -> ReverseRanks:
        """Thresholds of every column."""
        thresholds = self._whole[:, :, 2 : 2 + len(self.rows.ranks)].transpose(2, 1, 0)
        return ReverseRanks(self.rows.ranks, np.ascontiguousarray(thresholds))

    @cached_property
    def topics(self) -> Topics:
        """Topics over every column."""
        directions = self._whole[:, :, 2 + len(self.rows.ranks) :].transpose(1, 2, 0)
        return Topics(np.ascontiguousarray(directions))


def columns_of(cells: NDArray[np.float32], ranks: NDArray[np.int64]) -> BankColumns:
    """Return one provider's cells (n, 2 + T + H) by what they are."""
    n = 2 + len(ranks)
    return BankColumns(ranks, cells[:, 0], cells[:, 1], cells[:, 2:n].T, cells[:, n:].T)
