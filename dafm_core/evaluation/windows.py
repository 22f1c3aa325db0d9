"""Fusion for engines that re-score their first hits: learned, and measured, on those alone.

Such an engine has scores of a window of candidates only: the union of every model's first M. Means
and spreads are those of the window then, so that weights learned on whole rows are not quite right.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.errors import OptionError
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.store.stack import SimilarityStack

if TYPE_CHECKING:
    from dafm_core.fusion.base import Fuser


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowedStack(SimilarityStack):
    """A stack in whose tiles all but the union of every provider's first ``window`` is excluded."""

    window: int

    def tile(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return scores of queries ``start:stop``, (B, K, N); -inf outside the window."""
        return _cut(super().tile(start, stop), self.window)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return scores of some queries; as :meth:`tile`."""
        return _cut(super().read(rows), self.window)


def windowed(stack: SimilarityStack, window: int) -> WindowedStack:
    """Return a stack as an engine sees it that re-scores every model's first hits.

    Raises
    ------
    OptionError
        For a window below 2, or a provider with shortlists.
    """
    if window < 2:
        raise OptionError(f"--window: expected at least 2 hits, got {window}.")
    if stack.gallery.unknown:
        name = next(iter(stack.gallery.unknown))
        raise OptionError(
            f"--window: {name!r} has shortlists, and every model has to score the whole window. "
            "Leave it out with --providers."
        )
    parts = {part.name: getattr(stack, part.name) for part in fields(SimilarityStack)}
    return WindowedStack(**parts | {"made": None}, window=window)


def fit_on_windows(fuser: Fuser, stack: WindowedStack) -> Fuser:
    """Fit a fuser on the queries that have a target in their window, and on those targets alone."""
    kept: list[NDArray[np.int64]] = []
    for rows, tile in stack.tiles():
        inside = np.isfinite(tile[:, 0])
        for b, query in enumerate(range(rows.start, rows.stop)):
            targets = stack.dataset.targets[query]
            kept.append(targets[inside[b, targets]])
    names = [[stack.gallery_ids[column] for column in columns] for columns in kept]
    queries = stack.dataset.queries.with_columns(targets=pl.Series(names, dtype=pl.List(pl.String)))
    if "grades" in queries.columns:
        queries = queries.with_columns(grades=pl.lit(None, queries.schema["grades"]))
    return fuser.fit(replace(stack, dataset=replace(stack.dataset, queries=queries)).labelled())


def window_loss(
    fuser: Fuser, stack: SimilarityStack, window: int, *, n_folds: int = 5, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return what held-out queries reach by whole rows and by windows, by metric, in [0, 1].

    Both are fitted on the same queries; no group is in two folds.
    """
    sums: dict[str, list[float]] = {}
    n_queries = 0
    for train, test in stack.folds(n_folds, seed=seed):
        whole = evaluate(fuser.clone().fit(train), test).values
        seen = fit_on_windows(fuser.clone(), windowed(train, window))
        few = evaluate(seen, windowed(test, window)).values
        n_queries += test.n_queries
        for metric in whole:
            pair = sums.setdefault(metric, [0.0, 0.0])
            pair[0] += test.n_queries * whole[metric]
            pair[1] += test.n_queries * few[metric]
    return {metric: (a / n_queries, b / n_queries) for metric, (a, b) in sums.items()}


def _cut(tile: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Return a tile that is -inf outside the union of the providers' first scores."""
    n = tile.shape[2]
    if window >= n:
        return tile
    bars = np.partition(tile, n - window, axis=2)[:, :, n - window, None]
    inside = ((tile >= bars) & (tile > -np.inf)).any(axis=1, keepdims=True)
    cut: NDArray[np.float32] = np.where(inside, tile, np.float32(-np.inf))
    return cut
