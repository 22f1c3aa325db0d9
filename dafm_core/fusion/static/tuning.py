"""Static rules as finite families: every setting is a ranking, and ``fit`` keeps the best one.

Tuned on the queries a learned fusion trains on, a rule is a baseline worth beating. The families
themselves are one module per idea: ``average.py``, ``voting.py``, ``margin.py``; weights, which
are not finite in number, in ``weighted.py``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import FuserError
from dafm_core.fusion.base import Fuser, Scores, Tile, TileScorer
from dafm_core.fusion.completing import completed
from dafm_core.ground.normalize import (
    BLOCK_CELLS,
    NORMALIZATIONS,
    Normalization,
    mean_of_zscores,
    rank_rows,
)
from dafm_core.ground.progress import Progress
from dafm_core.ground.quick_rows import load_for
from dafm_core.metrics.spec import Metric, each_once, parse_metrics
from dafm_core.metrics.truth import require_truth
from dafm_core.store.rows import CACHED_BYTES

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.store.gallery import Gallery
    from dafm_core.store.stack import SimilarityStack

Setting = TypeVar("Setting")


class Views:
    """A tile of raw scores and its normalised forms, each computed once however many rules ask."""

    def __init__(self, raw: Tile) -> None:
        self.raw = raw
        self._normalized: dict[Normalization, Tile] = {}

    def __getitem__(self, normalization: Normalization) -> Tile:
        """Return the tile under one normalisation, (B, K, N); -inf where excluded."""
        if normalization not in self._normalized:
            self._normalized[normalization] = NORMALIZATIONS[normalization](self.raw)
        return self._normalized[normalization]

    def mean(self, normalization: Normalization) -> Scores:
        """Return the mean over models under one normalisation, (B, N)."""
        if normalization == "zscore" and normalization not in self._normalized:
            return mean_of_zscores(self.raw)
        mean: Scores = self[normalization].mean(axis=1)  # (B, K, N) -> (B, N)
        return mean

    @cached_property
    def ranks(self) -> Tile:
        """Rank of every candidate in its row, best = 1, ties sharing their mean, (B, K, N)."""
        return rank_rows(self.raw)

    @cached_property
    def margins(self) -> NDArray[np.float32]:
        """Best minus second best z-score of each row, (B, K)."""
        return margins(self["zscore"])

    @cached_property
    def excluded(self) -> NDArray[np.bool_]:
        """Whether a candidate is removed from the query's ranking, (B, N)."""
        return np.isneginf(self.raw[:, 0])

    def without_excluded(self, scores: Scores) -> Scores:
        """Return fused scores (B, N) with -inf where excluded."""
        return np.where(self.excluded, np.float32(-np.inf), scores)


def margins(scaled: Tile) -> NDArray[np.float32]:
    """Return best minus second best score of each row, (B, K, N) -> (B, K); 0 where there is no
    second.
    """
    if scaled.shape[-1] < 2:
        return np.zeros(scaled.shape[:2], np.float32)
    top = np.partition(scaled, -2, axis=-1)[..., -2:]
    gap: NDArray[np.float32] = np.where(np.isfinite(top[..., 0]), top[..., 1], 0) - np.where(
        np.isfinite(top[..., 0]), top[..., 0], 0
    )
    return gap


class TunedRule(Fuser, Generic[Setting]):
    """A rule with a few settings; ``fit`` keeps the one that ranks the training queries best.

    Best by ``objective``, or by the mean of the protocol's metrics. Without targets to learn from,
    or before ``fit``, the first setting holds; a rule with one setting has nothing to learn.

    Attributes
    ----------
    setting_ : a JSON value
        The setting kept.
    """

    has_default: ClassVar[bool] = True
    objective: str | None
    setting_: Setting

    @abstractmethod
    def settings(self, gallery: Gallery) -> tuple[Setting, ...]:
        """Return what ``fit`` chooses from, the default first."""

    @abstractmethod
    def score(self, views: Views, setting: Setting) -> Scores:
        """Return fused scores (B, N) under one setting."""

    def as_rule(self) -> Self:
        """Return the rule itself."""
        return self

    def choose(self, gallery: Gallery, values: NDArray[np.float64]) -> None:
        """Keep the setting with the highest mean of ``values`` (n_queries, n_settings)."""
        self.setting_ = self.settings(gallery)[int(values.mean(axis=0).argmax())]

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the setting kept."""
        return {}, {"setting": self.setting_}

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Restore the setting."""
        self.setting_ = values["setting"]

    def _scorer(self, gallery: Gallery) -> TileScorer:
        setting = self.setting_ if hasattr(self, "setting_") else self.settings(gallery)[0]

        def score(tile: Tile) -> Scores:  # a few queries at a time, to stay in the cache
            step = max(1, BLOCK_CELLS // (tile.shape[1] * tile.shape[2]))
            parts = [tile[start : start + step] for start in range(0, len(tile), step)]
            if len(parts) < 2:
                return self.score(Views(tile), setting)
            return np.concatenate([self.score(Views(part), setting) for part in parts])

        return score

    def _fit(
        self, stack: SimilarityStack, *, bank: SimilarityStack | None, progress: Progress | None
    ) -> None:
        settings = self.settings(stack.gallery)
        has_target = stack.dataset.targets.counts > 0
        if len(settings) > 1 and has_target.any():
            labelled = stack.labelled()
            metrics = tuning_metrics(stack.dataset, self.objective)
            values = measure_settings({"": self}, labelled, metrics)[""]
            self.choose(stack.gallery, values.mean(axis=2))
            seen = self.record_.query_ids | frozenset(labelled.query_ids)
            self.record_ = replace(self.record_, query_ids=seen)
        elif self.has_default or len(settings) == 1:
            self.setting_ = settings[0]
        else:
            raise FuserError(
                f"{self.name}.fit: no training query has a target. Train on a split with targets."
            )


def measure_settings(
    rules: Mapping[str, TunedRule[Any]],
    stack: SimilarityStack,
    metrics: Sequence[Metric],
) -> dict[str, NDArray[np.float64]]:
    """Measure every setting of every rule on every query, in one pass over the tiles.

    Returns
    -------
    dict of str to ndarray of shape (n_queries, n_settings, n_metrics), float64
        In [0, 1].
    """
    require_truth(stack.dataset, stack.truth, metrics)
    load_for(len(rules) * stack.n_cells)  # each works on all of them
    settings = {name: rule.settings(stack.gallery) for name, rule in rules.items()}
    shapes = {name: (stack.n_queries, len(settings[name]), len(metrics)) for name in rules}
    values = {name: np.empty(shape) for name, shape in shapes.items()}
    for rows, tile in completed(stack).tiles(n_bytes=CACHED_BYTES):
        views, truth = Views(tile), stack.truth.part(rows)
        for name, rule in rules.items():
            for s, setting in enumerate(settings[name]):
                values[name][rows, s] = truth.measure(rule.score(views, setting), metrics)
    return values


def tuning_metrics(dataset: Dataset, objective: str | None) -> tuple[Metric, ...]:
    """Return the metrics whose mean a rule is tuned for: those of a table's mean."""
    return parse_metrics(
        [objective] if objective else each_once(dataset.metrics), of=dataset.metrics
    )
