"""How sure one can be: bootstrap intervals and paired tests in which a group counts as one draw.

Queries of one image set share images and wording, so they succeed and fail together; treating
them as independent makes intervals too narrow. Everything here resamples whole groups, by sums
per group and one matrix product, the same resamples for every column: differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dafm_core.errors import DatasetError, OptionError, expect

Columns = NDArray[np.float64]
CHUNK = 1000
"""Resamples drawn at a time: bounds memory at CHUNK x n_groups."""
FEW_GROUPS = 40
"""Percentiles cover 86 to 90 % instead of 95 % with 8 groups, and 93 to 96 % with more than 40."""

MOST_RESAMPLES = 10_000_000
"""More take hours, and tell no more."""


class Resampler:
    """Cluster bootstrap and sign-flip test over fixed groups of queries.

    Parameters
    ----------
    groups : array of shape (n_queries,)
        Group of each query; resampled as a whole.
    n_resamples : int, default=10_000
    seed : int, default=0

    Attributes
    ----------
    n_groups : int
    """

    def __init__(self, groups: ArrayLike, *, n_resamples: int = 10_000, seed: int = 0) -> None:
        names, self._codes = np.unique(np.asarray(groups), return_inverse=True)
        self.n_groups = len(names)
        expect(n_resamples, (int, np.integer), where="intervals: n_resamples")
        if not 1 <= n_resamples <= MOST_RESAMPLES:
            raise OptionError(
                f"intervals: expected n_resamples from 1 to {MOST_RESAMPLES:,}, got {n_resamples}."
            )
        self.n_resamples = n_resamples
        self._seed = seed
        self._sizes = np.bincount(self._codes, minlength=self.n_groups).astype(np.float64)

    @property
    def n_free(self) -> int:
        """Degrees of freedom of a standard error over groups."""
        return self.n_groups - 1

    def means(self, values: Columns) -> Columns:
        """Return the column means of every resample, (n_resamples, n_columns).

        Parameters
        ----------
        values : ndarray of shape (n_queries, n_columns)

        Raises
        ------
        DatasetError
            If there is one group only: nothing can be said of how groups differ.
        """
        if self.n_groups < 2:
            raise DatasetError(
                "intervals: expected at least two groups of queries, got one. Give every query a "
                "group of its own, or compare on more queries."
            )
        sums, parts = self._group_sums(values), []
        for n, rng in self._chunks():
            draws = rng.integers(0, self.n_groups, (n, self.n_groups))
            cells = (draws + np.arange(n)[:, None] * self.n_groups).ravel()
            times = np.bincount(cells, minlength=n * self.n_groups).reshape(n, self.n_groups)
            parts.append((times @ sums) / (times @ self._sizes)[:, None])
        return np.concatenate(parts)

    def summary(self, values: Columns, *, level: float = 0.95) -> tuple[Columns, Columns, Columns]:
        """Return (low, high, standard error) of each column's mean.

        Bounds are percentiles of the resampled means. With few groups (at most ``FEW_GROUPS``)
        these are too narrow, and the bounds are those of Student's t for the mean of groups.
        """
        if 2 <= self.n_groups <= FEW_GROUPS:
            mean, error = values.mean(axis=0), self.standard_error(values)
            reach = t_quantile((1 + level) / 2, self.n_free) * error
            return mean - reach, mean + reach, error
        means = self.means(values)
        tail = 100 * (1 - level) / 2
        low, high = np.percentile(means, [tail, 100 - tail], axis=0)
        return low, high, means.std(axis=0)

    def sign_flip(self, differences: Columns) -> Columns:
        """Return two-sided p-values for "the mean difference is zero", one per column.

        Under that hypothesis each group's summed difference is as likely as its negative; the
        observed sum is counted among the resamples, so no p-value is below 1 / (n_resamples + 1).
        """
        sums = self._group_sums(differences)
        observed = np.abs(sums.sum(axis=0))
        slack = 1e-9 * np.abs(sums).sum(axis=0)  # sums in another order are not another result
        as_extreme = np.zeros(differences.shape[1])
        for n, rng in self._chunks():
            signs = rng.integers(0, 2, (n, self.n_groups)) * 2.0 - 1.0
            as_extreme += (np.abs(signs @ sums) >= observed - slack).sum(axis=0)
        return np.asarray((1 + as_extreme) / (1 + self.n_resamples))

    def design_effect(self, differences: NDArray[np.float64]) -> float | None:
        """Return how much larger the variance of a mean is than for independent queries, >= 0; None
        where all differences are equal, which tells nothing about groups.
        """
        centred = differences - differences.mean()
        independent = float((centred**2).sum())
        clustered = float((self._group_sums(centred[:, None]) ** 2).sum())
        return clustered / independent if independent > 0 else None

    def standard_error(self, values: Columns) -> Columns:
        """Return the standard error of each column's mean, from sums over groups."""
        around = self._group_sums(values - values.mean(axis=0))
        variance = self.n_groups / (self.n_groups - 1) * (around**2).sum(axis=0)
        return np.asarray(np.sqrt(variance) / len(values))

    def _group_sums(self, values: Columns) -> Columns:
        sums = np.zeros((self.n_groups, values.shape[1]))
        np.add.at(sums, self._codes, values)
        return sums

    def _chunks(self) -> Iterator[tuple[int, np.random.Generator]]:
        rng = np.random.default_rng(self._seed)
        for start in range(0, self.n_resamples, CHUNK):
            yield min(CHUNK, self.n_resamples - start), rng


class StratifiedResampler(Resampler):
    """The same where every stratum, e.g. a category, keeps its own queries in every resample.

    Parameters
    ----------
    groups, n_resamples, seed
        As :class:`Resampler`. Groups of different strata are different groups.
    strata : array of shape (n_queries,)
        Stratum of each query.
    """

    def __init__(
        self, groups: ArrayLike, strata: ArrayLike, *, n_resamples: int = 10_000, seed: int = 0
    ) -> None:
        names, codes = np.unique(np.asarray(strata), return_inverse=True)
        _, inner = np.unique(np.asarray(groups), return_inverse=True)
        super().__init__(inner * len(names) + codes, n_resamples=n_resamples, seed=seed)
        self._strata = [np.flatnonzero(codes == s) for s in range(len(names))]
        self._parts = [
            Resampler(inner[rows], n_resamples=n_resamples, seed=seed + s)
            for s, rows in enumerate(self._strata)
        ]

    @property
    def n_free(self) -> int:
        """Degrees of freedom: those of every stratum."""
        return sum(part.n_free for part in self._parts)

    def means(self, values: Columns) -> Columns:
        """Return the column means of every resample, (n_resamples, n_columns)."""
        shares = [len(rows) / len(values) for rows in self._strata]
        parts = zip(self._parts, self._strata, shares, strict=True)
        return np.asarray(sum(share * part.means(values[rows]) for part, rows, share in parts))

    def standard_error(self, values: Columns) -> Columns:
        """Return the standard error of each column's mean, from sums over groups."""
        shares = [len(rows) / len(values) for rows in self._strata]
        parts = zip(self._parts, self._strata, shares, strict=True)
        variance = sum((share * part.standard_error(values[r])) ** 2 for part, r, share in parts)
        return np.asarray(np.sqrt(variance))


@cache
def t_quantile(probability: float, n_free: int) -> float:
    """Return the quantile, above the median, of Student's t with so many degrees of freedom.

    With ``x = sqrt(n_free) tan(a)`` the density is a power of ``cos(a)``, which is summed up.

    Examples
    --------
    >>> [round(t_quantile(0.975, n), 3) for n in (1, 7, 30)]
    [12.706, 2.365, 2.042]
    """
    angles = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(angles) ** (n_free - 1)
    total = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    angle = np.interp(2 * probability - 1, total / total[-1], angles)
    return float(np.sqrt(n_free) * np.tan(angle))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted for asking several questions at once (Holm, 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted: NDArray[Any] = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def detectable(standard_error: float) -> float:
    """Return the smallest true difference that a 5 % test finds 80 % of the time."""
    return (1.9600 + 0.8416) * standard_error
