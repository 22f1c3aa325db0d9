"""Groups that must stay together: queries of one image set, dealt into folds and halves whole."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dafm_core.errors import DatasetError, expect

WHOLE = (int, np.integer)
"""Types of whole numbers."""


def grouped_folds(groups: ArrayLike, n_folds: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Return a fold for each query such that no group is in two, folds of about equal size.

    The largest groups are dealt first, each to the fold that has the fewest queries so far; groups
    of one size are dealt in random order.

    Parameters
    ----------
    groups : array of shape (n_queries,)
        Group of each query.
    n_folds : int

    Raises
    ------
    DatasetError
        If there are fewer groups than folds, or fewer than two folds.

    Examples
    --------
    >>> grouped_folds(["a", "a", "b", "c"], 2).tolist()  # the pair is one fold, b and c the other
    [0, 0, 1, 1]
    """
    expect(n_folds, WHOLE, where="folds")
    expect(seed, WHOLE, where="folds: seed")
    names, codes, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if not 2 <= n_folds <= len(names):
        raise DatasetError(
            f"folds: expected between 2 and {len(names)} (the number of groups), got {n_folds}."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of_group, load = np.empty(len(names), np.int64), np.zeros(n_folds)
    for group in sorted(order, key=lambda g: -sizes[g]):  # a stable sort keeps the random order
        fold_of_group[group] = load.argmin()
        load[fold_of_group[group]] += sizes[group]
    return fold_of_group[codes]


def deal_groups(groups: ArrayLike, n_folds: int, *, seed: int) -> NDArray[np.int64]:
    """Return a fold for each query; whole groups, dealt in random order, one to each in turn.

    For internal folds of a fit, which need not be of equal size and may outnumber the groups.
    """
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    deal = np.empty(len(names), np.int64)
    deal[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % n_folds
    return deal[codes]


def held_out_rows(
    values: Sequence[str], *, test_size: float, seed: int, where: str
) -> NDArray[np.bool_]:
    """Return which rows are held out, (n,) bool: a share of the distinct values, with all rows.

    Parameters
    ----------
    test_size : float
        Share of the values, not of the rows; in (0, 1).
    where : str
        Start of every message.

    Raises
    ------
    DatasetError
        If there are fewer than two values, or the share is out of range.
    """
    expect(test_size, (*WHOLE, float), where=f"{where}: test_size")
    expect(seed, WHOLE, where=f"{where}: seed")
    names = np.unique(np.asarray(values, dtype=object).astype(np.str_))
    if len(names) < 2:
        raise DatasetError(f"{where}: expected at least two groups to split, got {len(names)}.")
    if not 0.0 < test_size < 1.0:
        raise DatasetError(f"{where}: expected test_size in (0, 1), got {test_size}.")
    order = np.random.default_rng(seed).permutation(names)
    n_test = min(max(1, round(test_size * len(names))), len(names) - 1)
    chosen = set(order[:n_test].tolist())
    return np.array([value in chosen for value in values], bool)


def connected_groups(names: Sequence[Iterable[Hashable]]) -> list[int]:
    """Return a group number per row: rows that share a name, directly or through other rows, share
    a group; a group is numbered by its first row.

    Examples
    --------
    >>> connected_groups([["a", "b"], ["c"], ["b", "d"], ["d"]])
    [0, 1, 0, 0]
    """
    parent = list(range(len(names)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    first: dict[Hashable, int] = {}
    for row, shared in enumerate(names):
        for name in shared:
            one, other = sorted((root(first.setdefault(name, row)), root(row)))
            parent[other] = one
    return [root(row) for row in range(len(names))]
