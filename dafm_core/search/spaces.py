"""Vectors of images whose inner products are what a fusion goes by, block by block.

*Raw*: features as they are; a direction is a query, or queries of several models side by side.
*Seen*: what a bank makes of them. A score less the mean, over the spread, that the bank gives an
image is an inner product too: of (f - centre) / s, 1 / s and m / s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.search.features import GalleryFeatures
from dafm_core.search.index import GalleryIndex

Block: TypeAlias = tuple[slice, NDArray[np.float32]]
BANK: Final = ""
"""Name of the part of a seen vector that holds 1 / s and m / s of every provider."""

ALL: Final = ""
"""Name of the view of all providers."""


class Vectors(Protocol):
    """One part of the vectors of all images."""

    @property
    def width(self) -> tuple[int, ...]:
        """Shape of one image's."""

    def __len__(self) -> int: ...

    def take(self, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return those of some images, (n, D)."""

    def blocks(self, size: int | None = None) -> Iterator[Block]:
        """Yield columns and vectors."""


Space: TypeAlias = Mapping[str, Vectors]
"""Vectors by part: a provider, or the bank."""


@dataclass(frozen=True, eq=False)
class SeenFeatures:
    """Features of one provider, less their centre, over the spread that the bank gives an image."""

    features: GalleryFeatures
    columns: GalleryFeatures
    place: int
    centre: NDArray[np.float32]

    @property
    def width(self) -> tuple[int, ...]:
        """Shape of one image's."""
        return self.features.width

    def __len__(self) -> int:
        return len(self.features)

    def take(self, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return those of some images, (n, D)."""
        return self._seen(self.features.take(columns), self.columns.take(columns))

    def blocks(self, size: int | None = None) -> Iterator[Block]:
        """Yield columns and vectors."""
        pairs = zip(self.features.blocks(size), self.columns.blocks(size), strict=True)
        for (where, block), (_, said) in pairs:
            yield where, self._seen(block, said)

    def _seen(
        self, features: NDArray[np.float32], said: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        std = said[:, said.shape[1] // 2 + self.place, None]
        return ((features - self.centre) / std).astype(np.float32)


@dataclass(frozen=True, eq=False)
class SeenOffsets:
    """1 / s, then m / s, of every provider, (N, 2 K)."""

    columns: GalleryFeatures

    @property
    def width(self) -> tuple[int, ...]:
        """Shape of one image's."""
        return self.columns.width

    def __len__(self) -> int:
        return len(self.columns)

    def take(self, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return those of some images, (n, 2 K)."""
        return _offsets(self.columns.take(columns))

    def blocks(self, size: int | None = None) -> Iterator[Block]:
        """Yield columns and vectors."""
        for where, said in self.columns.blocks(size):
            yield where, _offsets(said)


def spaces(index: GalleryIndex) -> dict[str, Space]:
    """Return the spaces in which an index's images can be found: raw, and seen with a bank."""
    raw: Space = {name: index.features(name) for name in index.names}
    columns = index.bank_columns
    if columns is None:
        return {"raw": raw}
    seen: dict[str, Vectors] = {
        name: SeenFeatures(
            index.features(name), columns, k, index.moments[name].centre.astype(np.float32)
        )
        for k, name in enumerate(index.names)
    }
    return {"raw": raw, "seen": seen | {BANK: SeenOffsets(columns)}}


def views_of(space: Space) -> dict[str, Space]:
    """Return the parts of a space that are searched: each provider's, and all side by side."""
    bank = {name: part for name, part in space.items() if name == BANK}
    one: dict[str, Space] = {n: {n: part, **bank} for n, part in space.items() if n != BANK}
    return one if len(one) == 1 else {**one, ALL: space}


def view_of(direction: Mapping[str, NDArray[np.float32]]) -> str:
    """Return the part of a space that a direction lies in."""
    names = [name for name in direction if name != BANK]
    return names[0] if len(names) == 1 else ALL


def _offsets(said: NDArray[np.float32]) -> NDArray[np.float32]:
    mean, std = np.split(said, 2, axis=1)
    return np.concatenate([1 / std, mean / std], axis=1)
