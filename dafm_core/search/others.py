"""What stands for the images that a query does not look at: a sample of them, or codes of all.

``closed_form.py`` reads ranks and the entropy of a row from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dafm_core.search.cells import IndexBank
from dafm_core.search.index import GalleryIndex
from dafm_core.search.moments import BankColumns, RowMoments
from dafm_core.search.screened import Screened, Tail

N_SAMPLE: Final = 8192
"""Images by which the others are estimated, or their entropy alone where codes are known."""

Vector = NDArray[np.float32]
Counts = tuple[Vector, NDArray[np.float64]]
"""Scores, descending, and how many images are not below each."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Images that stand for all: evenly drawn, the same for every query.

    Parameters
    ----------
    columns : ndarray of shape (n,), int64
        Ascending.
    features : mapping of str to ndarray of shape (n, D), float32
    bank : mapping of str to BankColumns
        Empty without a bank.
    """

    columns: NDArray[np.int64]
    features: Mapping[str, NDArray[np.float32]]
    bank: Mapping[str, BankColumns]

    @classmethod
    def of(cls, index: GalleryIndex) -> Sample:
        """Draw a sample of an index's images."""
        rng = np.random.default_rng(0)
        n = min(N_SAMPLE, index.n_images)
        columns = np.sort(rng.choice(index.n_images, n, replace=False))
        bank = index.bank
        return cls(
            columns,
            {name: index.features(name).take(columns) for name in index.names},
            bank.at(columns) if isinstance(bank, IndexBank) else {},
        )


class Others(Protocol):
    """The images that a query does not look at."""

    @property
    def weight(self) -> float:
        """Images that each stands for whose scores are given."""

    def z(self, name: str, query: Vector, row: RowMoments) -> Vector:
        """Return standardised scores under one provider."""

    def seen(self, name: str, z: Vector) -> Vector:
        """Return what the bank makes of those; nothing where all are counted."""

    def counts(self, name: str) -> Counts | None:
        """Return how many images of all are not below some scores as the bank sees them."""


@dataclass(frozen=True, eq=False)
class SampledOthers:
    """The sampled images that a query does not look at."""

    sample: Sample
    others: NDArray[np.bool_]
    weight: float

    @classmethod
    def of(cls, sample: Sample, n_images: int, known: NDArray[np.int64]) -> SampledOthers:
        """Return the sample without the images whose scores are known."""
        columns = sample.columns
        others = np.ones(len(columns), np.bool_)
        places = np.searchsorted(columns, known).clip(0, len(columns) - 1)
        others[places[columns[places] == known]] = False
        return cls(sample, others, (n_images - len(known)) / max(1, int(others.sum())))

    def z(self, name: str, query: Vector, row: RowMoments) -> Vector:
        """Return standardised scores under one provider."""
        return row.standardised(self.sample.features[name] @ query)[self.others]

    def seen(self, name: str, z: Vector) -> Vector:
        """Return what the bank makes of those."""
        if name not in self.sample.bank:
            return z
        bank = self.sample.bank[name]
        found: Vector = (z - bank.mean[self.others]) / bank.std[self.others]
        return found

    def counts(self, name: str) -> Counts | None:
        """Return nothing: they are counted as far as they go."""


@dataclass(frozen=True, eq=False)
class All:
    """What codes say of all images, and what exact scores say of the highest of each provider."""

    screened: Screened
    tails: Sequence[Tail]


@dataclass(frozen=True, eq=False)
class CodedOthers:
    """All other images by their codes; some of them where each has to be looked at."""

    every: All
    rows: NDArray[np.int64]
    weight: float

    @classmethod
    def of(cls, every: All, n_images: int, known: NDArray[np.int64]) -> CodedOthers:
        """Return the images whose scores are not known."""
        screened = every.screened
        rows = screened.some(N_SAMPLE)
        rows = rows[~np.isin(screened.screen.column_of[rows], known)]
        return cls(every, rows, (n_images - len(known)) / max(1, len(rows)))

    def z(self, name: str, query: Vector, row: RowMoments) -> Vector:
        """Return standardised scores under one provider."""
        screened = self.every.screened
        scores: Vector = screened.scores[screened.names.index(name), self.rows]
        return scores

    def seen(self, name: str, z: Vector) -> Vector:
        """Return nothing: all are counted."""
        return z[:0]

    def counts(self, name: str) -> Counts | None:
        """Return how many images of all are not below some scores as the bank sees them."""
        screened, k = self.every.screened, self.every.screened.names.index(name)
        return screened.above(k, self.every.tails[k])
