"""Where there is nothing to learn, nothing is found: no fuser beats chance, and none is deployed.

Shuffled targets are for fusers that saw what they are measured on; random providers for a
comparison that finds a winner whatever it is given. Chance is known exactly: the share of a
query's candidates among its first k.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.comparison.compare import compare
from dafm_core.comparison.result import Comparison
from dafm_core.datasets.base import Dataset
from dafm_core.evaluation.design import Folds
from dafm_core.fusion.base import Fuser
from dafm_core.store.stack import SimilarityStack

CATALOG = PluginCatalog.discover(disabled=[])
LEARNED = sorted(name for name, info in CATALOG.fusers.items() if info.kind == "learned")
FEW_TREES = {"lambdamart": {"n_trees": "20", "min_leaf": "20"}}
CHANCE = {"recall@1": 1 / 39, "recall@5": 5 / 39, "recall@10": 10 / 39}
"""Of 40 candidates one is excluded."""


class Parrot(Fuser):
    """Knows the targets of its training queries by heart: wins if one of them is held out too."""

    kind = "learned"
    learns = True

    def _fit(self, stack, *, bank, progress):
        rows = zip(stack.tiles(1), stack.dataset.targets, strict=True)
        self.targets_ = {tile.tobytes(): targets for (_, tile), targets in rows}

    def _scorer(self, gallery):
        return self._score

    def _score(self, tile):
        fused = np.where(np.isneginf(tile[:, 0]), -np.inf, 0).astype(np.float32)
        for row, scores in zip(fused, tile, strict=True):
            row[self.targets_.get(scores[None].tobytes(), [])] = 1
        return fused


def fusers_of(names) -> dict[str, Fuser]:
    return {name: CATALOG.load_fuser(name, FEW_TREES.get(name)) for name in names}


def compared(stack: SimilarityStack, fusers: dict[str, Fuser]) -> Comparison:
    """Return the cross-fitted comparison."""
    return compare(stack, fusers, design=Folds(3), metrics=list(CHANCE), n_resamples=500)


def with_shuffled_targets(dataset: Dataset, *, seed: int) -> Dataset:
    """Return the queries with targets drawn at random, which no score knows of."""
    rng = np.random.default_rng(seed)
    excluded = dataset.queries["excluded"].to_list()
    targets = [
        [rng.choice([c for c in dataset.gallery_ids if c not in taken])] for taken in excluded
    ]
    column = pl.Series("targets", targets, dtype=dataset.queries.schema["targets"])
    return replace(dataset, queries=dataset.queries.with_columns(column))


def with_random_scores(stack: SimilarityStack, *, seed: int) -> SimilarityStack:
    """Return a stack of as many providers that know nothing of the queries."""
    rng = np.random.default_rng(seed)
    shape = (stack.n_queries, stack.n_gallery)
    return SimilarityStack.from_matrices(
        {name: rng.standard_normal(shape).astype(np.float32) for name in stack.names},
        stack.dataset,
    )


def assert_at_chance(comparison: Comparison) -> None:
    """Expect chance within four of its own standard errors, which it leaves once in 15,000."""
    for row in comparison.rows:
        for metric, chance in CHANCE.items():
            error = (chance * (1 - chance) / comparison.n_queries) ** 0.5
            value = row.metrics[metric].value
            assert abs(value - chance) < 4 * error, f"{row.name}: {metric} is {value:.3f}"


@pytest.fixture
def problem(make_problem):
    return make_problem(n_queries=240, noise=(1.0, 1.5, 2.0))


def test_shuffled_targets_leave_every_learned_fuser_at_chance(problem):
    dataset, stack = problem
    shuffled = replace(stack, dataset=with_shuffled_targets(dataset, seed=1))
    comparison = compared(shuffled, fusers_of(LEARNED) | {"parrot": Parrot()})
    assert {row.name for row in comparison.rows} >= {*LEARNED, "parrot"}
    assert_at_chance(comparison)


def test_the_same_fusers_find_what_there_is_to_find(problem):
    _, stack = problem
    comparison = compared(stack, fusers_of(LEARNED))
    for name in LEARNED:
        assert comparison.row(name).metrics["recall@10"].low > 2 * CHANCE["recall@10"]


def test_random_providers_leave_every_fuser_at_chance_and_none_is_deployed(problem):
    _, stack = problem
    canary = with_random_scores(stack, seed=2)
    comparison = compared(canary, fusers_of(CATALOG.fusers))
    assert {row.name for row in comparison.rows} >= set(CATALOG.fusers)
    assert_at_chance(comparison)
    assert comparison.verdict.action == "stay"


def test_the_verdict_on_random_providers_is_no_accident_of_one_seed(problem):
    _, stack = problem
    fusers = fusers_of(["mean", "max", "voting-rrf", "margin"])
    actions = [
        compare(with_random_scores(stack, seed=seed), fusers, n_resamples=200).verdict.action
        for seed in range(10)
    ]
    assert actions == ["stay"] * 10
