"""Short codes of features: eight bits a direction, the directions that scores vary by first.

Images differ little in most directions of a model's features, and queries look at few: of 256
numbers a quarter, rounded to a byte each, gives scores within a tenth of a standard deviation, all
of them within a hundredth. So every image is scored quickly, and the few that count are scored
exactly afterwards; how stands in ``screen.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.files import replacing
from dafm_core.search.moments import Moments
from dafm_core.search.stored import stored_arrays

LOST: Final = 0.012
"""Part of the variance of a query's scores that may lie in directions that are left out."""
TOGETHER: Final = 16
"""Directions that are kept or left out together."""
HIGHEST: Final = 127
ROOM: Final = 1.25
"""How far beyond the images that were looked at codes reach; what is further is cut."""


@dataclass(frozen=True, eq=False)
class Coding:
    """How one model's features become codes, and a query what codes are multiplied with.

    Parameters
    ----------
    centre : ndarray of shape (D,), float32
    directions : ndarray of shape (D, D), float32
        Of unit length, at right angles; the most telling first.
    steps : ndarray of shape (D,), float32
        What one step of a code is.
    n_first : int
        Directions by which every image of a large gallery is scored.
    """

    centre: NDArray[np.float32]
    directions: NDArray[np.float32]
    steps: NDArray[np.float32]
    n_first: int

    @classmethod
    def of(
        cls, moments: Moments, queries: NDArray[np.float32], some: NDArray[np.float32]
    ) -> Coding:
        """Return the coding whose first directions are few, and enough for queries to score by.

        Parameters
        ----------
        moments : Moments
        queries : ndarray of shape (B, D), float32
            Such as will be asked; features of images where none are known.
        some : ndarray of shape (n, D), float32
            Features of some images.
        """
        mean, covariance = moments.features()
        spread, axes = np.linalg.eigh(covariance)
        shares = (queries.astype(np.float64) @ axes) ** 2 * np.maximum(spread, 0)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)
        share = shares.mean(axis=0)
        order = np.argsort(-share, kind="stable")
        lost = share.sum() - np.cumsum(share[order])
        n = 1 + int(np.argmax(lost <= LOST))
        n_first = min(len(order), -(-n // TOGETHER) * TOGETHER)
        centre, directions = mean.astype(np.float32), axes[:, order].astype(np.float32)
        furthest = np.abs((some - centre) @ directions).max(axis=0)
        steps = np.maximum(furthest, 1e-12) * np.float32(ROOM / HIGHEST)
        return cls(centre, directions, steps, n_first)

    @property
    def n_rest(self) -> int:
        """The other directions, which are looked at where the first are not enough."""
        return len(self.steps) - self.n_first

    def codes(self, features: NDArray[np.float32]) -> NDArray[np.int8]:
        """Return the codes of features (n, D), (n, D)."""
        steps = ((features - self.centre) @ self.directions) / self.steps
        return np.rint(steps).clip(-HIGHEST, HIGHEST).astype(np.int8)

    def weights(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what codes are multiplied with, (D,): the score less that of the centre."""
        return (query @ self.directions) * self.steps

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **{part.name: getattr(self, part.name) for part in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Coding:
        """Read what :meth:`save` wrote."""
        arrays = stored_arrays(path)
        n_first = int(arrays["n_first"])
        return cls(arrays["centre"], arrays["directions"], arrays["steps"], n_first)


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes of the images of each part, removed ones included.

    Parameters
    ----------
    codings : mapping of str to Coding
        By provider.
    first : mapping of str to sequence of ndarray of shape (n, d), int8
        The numbers that every image is scored by.
    rest : sequence of ndarray of shape (n, D), int8
        The others, of all providers side by side, in the order of ``codings``; none where those
        are not kept.
    said : sequence of ndarray of shape (n, 2 K), float32
        Mean and spread that a bank gives each image by provider, in this order:
    bank_names : tuple of str
    """

    codings: Mapping[str, Coding]
    first: Mapping[str, Sequence[NDArray[np.int8]]]
    rest: Sequence[NDArray[np.int8]] = ()
    said: Sequence[NDArray[np.float32]] = ()
    bank_names: tuple[str, ...] = ()

    @property
    def sizes(self) -> list[int]:
        """Images of each part."""
        return [len(part) for part in next(iter(self.first.values()))]
