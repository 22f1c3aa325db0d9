"""Vectors of images whose inner products are what a fusion goes by, block by block.

*Raw*: features as they are; a direction is a query, or queries of several models side by side.
*Seen*: what a bank makes of them. A score less the mean m, over the spread s, that the bank gives
an image is an inner product too: of [(f - centre) / s, 1 / s, m / s].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.search.features import GalleryFeatures
from dafm_core.search.index import GalleryIndex
from dafm_core.search.moments import RowMoments

Block: TypeAlias = tuple[slice, NDArray[np.float32]]
OFFSETS: Final = np.float32(0.1)
"""Part of 1 / s and of m / s that a vector has, and its direction as many times more: images are
near each other by what they show, and not by how often they are found.
"""
ALL: Final = ""
"""Name of the view of all providers."""


class Vectors(Protocol):
    """One provider's vectors of all images."""

    @property
    def width(self) -> tuple[int, ...]:
        """Shape of one image's."""

    def __len__(self) -> int: ...

    def take(self, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return those of some images, (n, D)."""

    def blocks(self, size: int | None = None) -> Iterator[Block]:
        """Yield columns and vectors."""


Space: TypeAlias = Mapping[str, Vectors]
"""Vectors by provider."""


@dataclass(frozen=True, eq=False)
class SeenFeatures:
    """Features of one provider as the bank sees them, (N, D + 2).

    Parameters
    ----------
    features : GalleryFeatures
    columns : GalleryFeatures of width (2 K,)
        Mean and spread that the bank gives each image, by provider.
    place : int
        Where the provider stands among those.
    centre : ndarray of shape (D,)
    """

    features: GalleryFeatures
    columns: GalleryFeatures
    place: int
    centre: NDArray[np.float32]

    @property
    def width(self) -> tuple[int, ...]:
        """Shape of one image's."""
        return (self.features.width[0] + 2,)

    def __len__(self) -> int:
        return len(self.features)

    def take(self, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return those of some images, (n, D + 2)."""
        return self._seen(self.features.take(columns), self.columns.take(columns))

    def blocks(self, size: int | None = None) -> Iterator[Block]:
        """Yield columns and vectors."""
        pairs = zip(self.features.blocks(size), self.columns.blocks(size), strict=True)
        for (where, block), (_, said) in pairs:
            yield where, self._seen(block, said)

    def _seen(
        self, features: NDArray[np.float32], said: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        inverse = 1 / said[:, said.shape[1] // 2 + self.place]
        out = np.empty((len(features), *self.width), np.float32)
        np.subtract(features, self.centre, out=out[:, :-2])
        out[:, :-2] *= inverse[:, None]
        out[:, -2] = OFFSETS * inverse
        out[:, -1] = OFFSETS * inverse * said[:, self.place]
        return out


def seen_direction(query: NDArray[np.float32], row: RowMoments) -> NDArray[np.float32]:
    """Return the direction of a query's scores as the bank sees them, (D + 2,).

    Parameters
    ----------
    query : ndarray of shape (D,)
    row : RowMoments
        Of its scores; a row without spread says nothing.
    """
    if not row.std:
        return np.zeros(len(query) + 2, np.float32)
    offsets = np.array([(row.offset - row.mean) / row.std, -1], np.float32) / OFFSETS
    return np.concatenate([query / np.float32(row.std), offsets])


def spaces(index: GalleryIndex) -> dict[str, Space]:
    """Return the spaces in which an index's images can be found: raw, and seen with a bank."""
    raw: Space = {name: index.features(name) for name in index.names}
    columns = index.bank_columns
    if columns is None:
        return {"raw": raw}
    seen: Space = {
        name: SeenFeatures(
            index.features(name), columns, k, index.moments[name].centre.astype(np.float32)
        )
        for k, name in enumerate(index.names)
    }
    return {"raw": raw, "seen": seen}


def views_of(space: Space) -> dict[str, Space]:
    """Return the parts of a space that are searched: each provider's, and all side by side."""
    one: dict[str, Space] = {name: {name: part} for name, part in space.items()}
    return one if len(one) == 1 else {**one, ALL: space}


def view_of(direction: Mapping[str, NDArray[np.float32]]) -> str:
    """Return the part of a space that a direction lies in."""
    return next(iter(direction)) if len(direction) == 1 else ALL
