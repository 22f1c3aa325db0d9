"""What labels buy: held-out numbers by how many of the training queries are labelled.

The fusion is LightFusion's linear part, which is all that fewer than 200 labels train, with a bank
of every training query, labelled or not; without a label it is ``debiased``. Showing a curve is
``reporting``'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import DatasetError
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.fusion.channels.fuser import ChannelFusion
from dafm_core.fusion.channels.together import scorer_of_all
from dafm_core.fusion.debiased import DebiasedFusion
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.ground.progress import Progress
from dafm_core.metrics.spec import parse_metrics
from dafm_core.store.stack import SimilarityStack

SMALLEST: Final = 20
"""Fewer labels are not looked at unless asked for."""
TILE_QUERIES: Final = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class LearningCurve:
    """What ``learning_curve`` returns.

    Parameters
    ----------
    metrics : tuple of str
    sizes : tuple of int
        Labelled training queries: 0, some, and all that a fold has (on average).
    values : ndarray of shape (n_sizes, n_draws, n_metrics), float64
        Means over the held-out queries, in [0, 1], for each draw of the labels. Without labels, and
        with all, every draw is the same.
    n_folds, n_measured : int
        Folds that were held out, and the queries in them.
    """

    metrics: tuple[str, ...]
    sizes: tuple[int, ...]
    values: NDArray[np.float64]
    n_folds: int
    n_measured: int

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean over the draws, (n_sizes, n_metrics)."""
        return np.asarray(self.values.mean(axis=1))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; metrics in percent, None where undecided."""
        low, high = self.values.min(axis=1), self.values.max(axis=1)
        return {
            "n_folds": self.n_folds,
            "n_measured": self.n_measured,
            "n_draws": self.values.shape[1],
            "points": [
                {
                    "labels": size,
                    "metrics": {
                        metric: {"mean": _json(m), "lowest": _json(a), "highest": _json(b)}
                        for metric, m, a, b in zip(self.metrics, *numbers, strict=True)
                    },
                }
                for size, *numbers in zip(self.sizes, self.means, low, high, strict=True)
            ],
        }


def learning_curve(
    stack: SimilarityStack,
    *,
    sizes: Sequence[int] | None = None,
    n_draws: int = 20,
    n_folds: int = 5,
    held_out: int | None = None,
    seed: int = 0,
    metrics: Sequence[str] | None = None,
    options: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> LearningCurve:
    """Return what so many labels reach on queries whose groups have no part in the fusion.

    Of each training part whole groups are drawn as labelled until there are so many queries.

    Parameters
    ----------
    stack : SimilarityStack
        Queries with and without targets.
    sizes : sequence of int, optional
        Those that a training part does not have are left out. By default all labels that it has are
        halved, again and again, so that each step is what twice the labels buy.
    n_draws : int, default=20
        Of the labelled groups, in each fold.
    n_folds : int, default=5
        Into how many parts the groups are dealt.
    held_out : int, optional
        How many of the folds to measure on; all by default. Fewer take less time.
    metrics : sequence of str, optional
        Those of the protocol by default.
    options : dict of str to value, optional
        Of LightFusion, beside ``network="linear"``.
    progress : callable, optional

    Raises
    ------
    DatasetError
        If there are fewer groups than folds, or no query has a target in the gallery.
    """
    names = tuple(metrics or stack.dataset.metrics)
    parts = stack.folds(n_folds, seed=seed)[:held_out]
    fewest = _fewest_labels(parts)
    kept = halvings(fewest) if sizes is None else sorted({n for n in sizes if n < fewest})
    found, weights, labels = [], [], []
    for number, (train, test) in enumerate(parts):
        if progress is not None:
            progress("learning curve", number, len(parts))
        light = LightFusion(**{"network": "linear", **(options or {})}).fit(train)
        fitted = [
            light.with_labels(drawn_groups(train, size, seed=[seed, number, draw]))
            for size in kept
            for draw in range(n_draws)
        ]
        measured = test.measured()
        free = evaluate(DebiasedFusion().fit(train), measured, metrics=names)
        values = _measure([*fitted, light], measured, names)
        some = values[:-1].reshape(len(kept), n_draws, len(names))
        ends = [
            np.broadcast_to(end, (1, n_draws, len(names)))
            for end in (free.per_query.mean(axis=0), values[-1])
        ]
        found.append(np.concatenate([ends[0], some, ends[1]]))
        weights.append(measured.n_queries)
        labels.append(train.labelled().n_queries)
    if progress is not None:
        progress("learning curve", len(parts), len(parts))
    return LearningCurve(
        metrics=names,
        sizes=(0, *kept, round(float(np.mean(labels)))),
        values=np.average(found, axis=0, weights=weights),
        n_folds=len(parts),
        n_measured=sum(weights),
    )


def halvings(n_labels: int) -> list[int]:
    """Return a half of so many labels, a quarter, ..., the fewest first.

    Examples
    --------
    >>> halvings(180)
    [22, 45, 90]
    """
    halves = [n_labels >> n for n in range(1, n_labels.bit_length())]
    return sorted(n for n in halves if n >= SMALLEST)


def drawn_groups(stack: SimilarityStack, n_labels: int, *, seed: int | Sequence[int]) -> set[str]:
    """Return whole groups, in random order, until so many of their queries have a target."""
    names, sizes = np.unique(stack.labelled().dataset.groups, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    n_groups = int(np.searchsorted(np.cumsum(sizes[order]), n_labels)) + 1
    return {str(name) for name in names[order[:n_groups]]}


def _json(value: float) -> float | None:
    return None if math.isnan(value) else 100 * float(value)


def _fewest_labels(parts: Sequence[tuple[SimilarityStack, SimilarityStack]]) -> int:
    """Return how many labelled queries the smallest training part has."""
    fewest = min(int((train.dataset.targets.counts > 0).sum()) for train, _ in parts)
    if not fewest:
        raise DatasetError(
            "learning curve: expected labelled queries in every training part, got none. Name "
            "targets of some queries."
        )
    return fewest


def _measure(
    fusers: Sequence[ChannelFusion[Any]], stack: SimilarityStack, metrics: Sequence[str]
) -> NDArray[np.float64]:
    """Return each fuser's metrics, means over the queries, (F, M)."""
    if stack.gallery.unknown:
        return np.stack(
            [evaluate(f, stack, metrics=metrics).per_query.mean(axis=0) for f in fusers]
        )
    chosen = parse_metrics(metrics, of=stack.dataset.metrics)
    score = scorer_of_all(fusers, stack)
    total = np.zeros((len(fusers), len(chosen)))
    for rows, tile in stack.tiles(TILE_QUERIES):
        truth = stack.truth.part(rows)
        for number, by_head in enumerate(score(tile)):
            total[number] += truth.measure(
                by_head["gallery"], chosen, subset_scores=by_head.get("subset")
            ).sum(axis=0)
    return total / stack.n_queries
