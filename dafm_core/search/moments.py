"""What a whole row's mean and spread follow from where scores are inner products: a few sums.

Of N images with features f, a query q has the scores q.f. Their mean is q.mu and their variance
q'Sq, whatever q is; the same holds after a bank's column statistics, which shift and scale each
image's score, and for the share that a bank's topics have in a row. So a row need not be made to be
standardised. Sums over images add up: a gallery that grows or shrinks changes them by the images
that came or went.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.files import replacing
from dafm_core.search.stored import stored_arrays

Vector = NDArray[np.float64]
SMALLEST_STD: Final = 1e-6
"""Spread of a row, relative to its mean, that is rounding: the row is constant."""


@dataclass(frozen=True, eq=False)
class BankColumns:
    """What a bank says of some images under one provider.

    Parameters
    ----------
    ranks : ndarray of shape (T,), int64
    mean, std : ndarray of shape (n,), float32
    thresholds : ndarray of shape (T, n), float32
    topics : ndarray of shape (H, n), float32
    """

    ranks: NDArray[np.int64]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    topics: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over the images of one provider's features, float64; a bank's are empty without one.

    With h = [f - centre, 1] and, where a bank gives an image mean m and spread s,
    g = [(f - centre) / s, 1 / s, m / s] and topics d.

    Parameters
    ----------
    centre : ndarray of shape (D,)
        Subtracted from features, so that little is lost where they point all one way.
    rows : ndarray of shape (D + 1, D + 1)
        Sum of h h'.
    columns : ndarray of shape (D + 2, D + 2)
        Sum of g g'.
    column_sum : ndarray of shape (D + 2,)
    shares : ndarray of shape (H, D + 2)
        Sum of d g'.
    topic_sum : ndarray of shape (H,)
    topics : ndarray of shape (H, H)
        Sum of d d'.
    """

    centre: Vector
    rows: Vector
    columns: Vector
    column_sum: Vector
    shares: Vector
    topic_sum: Vector
    topics: Vector

    @classmethod
    def of(
        cls,
        blocks: Iterable[tuple[NDArray[np.float32], BankColumns | None]],
        *,
        centre: Vector | None = None,
    ) -> Moments:
        """Return the sums over blocks of features (n, D) and what a bank says of their images.

        Parameters
        ----------
        centre : ndarray of shape (D,), optional
            That of the sums which these will be added to; by default the mean of the first block.
        """
        total: Moments | None = None
        for features, bank in blocks:
            if centre is None:
                centre = features.mean(axis=0, dtype=np.float64)
            part = _of_block(features, bank, centre)
            total = part if total is None else total.plus(part)
        if total is None:
            raise ValueError("moments: expected at least one block")
        return total

    def plus(self, other: Moments, *, sign: float = 1.0) -> Moments:
        """Return the sums over the images of both, or with ``sign=-1`` over those of one alone."""
        sums = {
            part.name: getattr(self, part.name) + sign * getattr(other, part.name)
            for part in fields(self)
            if part.name != "centre"
        }
        return Moments(self.centre, **sums)

    def save(self, path: Path) -> None:
        """Write the sums, whole or not at all."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **{part.name: getattr(self, part.name) for part in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Moments:
        """Read what :meth:`save` wrote."""
        arrays = stored_arrays(path)
        return cls(**{part.name: arrays[part.name] for part in fields(cls)})

    @property
    def n(self) -> float:
        """Number of images."""
        return float(self.rows[-1, -1])

    def features(self) -> tuple[Vector, Vector]:
        """Return mean and covariance of the features, (D,) and (D, D)."""
        mean = self.rows[:-1, -1] / self.n
        return self.centre + mean, self.rows[:-1, :-1] / self.n - np.outer(mean, mean)

    def of_row(self, query: NDArray[np.float32], excluded: NDArray[np.float32]) -> RowMoments:
        """Return mean and spread of a query's scores.

        Parameters
        ----------
        query : ndarray of shape (D,)
        excluded : ndarray of shape (n,)
            Scores of images that are no candidates.
        """
        q, out = query.astype(np.float64), excluded.astype(np.float64)
        offset = float(q @ self.centre)
        n = max(self.n - len(out), 1.0)
        first, second = float(q @ self.rows[:-1, -1]), float(q @ self.rows[:-1, :-1] @ q)
        gone = out - offset
        mean = (first - gone.sum()) / n
        std = float(np.sqrt(max((second - (gone**2).sum()) / n - mean**2, 0.0)))
        mean += offset
        return RowMoments(n, mean, std if std > SMALLEST_STD * abs(mean) else 0.0, offset)

    def of_columns(
        self, query: NDArray[np.float32], row: RowMoments, excluded: Vector
    ) -> tuple[float, float]:
        """Return mean and spread of a row after column statistics; 0 spread for a constant row.

        Parameters
        ----------
        excluded : ndarray of shape (n,)
            What stands after column statistics for images that are no candidates.
        """
        u = self._direction(query, row)
        mean = float(u @ self.column_sum - excluded.sum()) / row.n
        square = float(u @ self.columns @ u - (excluded**2).sum()) / row.n
        return mean, float(np.sqrt(max(square - mean**2, 0.0)))

    def topic_shares(
        self, query: NDArray[np.float32], row: RowMoments, excluded: Vector, topics: Vector
    ) -> Vector:
        """Return how much of each topic is in a row after column statistics, (H,).

        Parameters
        ----------
        excluded : ndarray of shape (n,)
        topics : ndarray of shape (H, n)
            Of images that are no candidates.
        """
        shares: Vector = self.shares @ self._direction(query, row) - topics @ excluded
        return shares

    def _direction(self, query: NDArray[np.float32], row: RowMoments) -> Vector:
        scaled = query.astype(np.float64) / row.std
        return np.concatenate([scaled, [(row.offset - row.mean) / row.std, -1.0]])


@dataclass(frozen=True)
class RowMoments:
    """Candidates, mean and spread of a row, and the score of the centre; spread 0: no evidence."""

    n: float
    mean: float
    std: float
    offset: float

    def standardised(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return scores in standard deviations above the mean; 0 where all are level."""
        if not self.std:
            return np.zeros(scores.shape, np.float32)
        return ((scores - np.float32(self.mean)) / np.float32(self.std)).astype(np.float32)


def _of_block(features: NDArray[np.float32], bank: BankColumns | None, centre: Vector) -> Moments:
    centred = features - centre.astype(np.float32)
    h = np.concatenate([centred, np.ones((len(centred), 1), np.float32)], axis=1)
    parts: list[Any] = [np.zeros(0)] * 5
    if bank is not None:
        inverse = (1 / bank.std)[:, None]
        g = np.concatenate([centred * inverse, inverse, bank.mean[:, None] * inverse], axis=1)
        d = np.ascontiguousarray(bank.topics)
        parts = [g.T @ g, g.sum(axis=0, dtype=np.float64), d @ g, d.sum(axis=1), d @ d.T]
    return Moments(centre, *(np.asarray(part, np.float64) for part in (h.T @ h, *parts)))
