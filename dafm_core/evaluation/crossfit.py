"""Held-out evaluation: every query is ranked by a fusion that has seen nothing of its group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dafm_core.errors import DatasetError, OptionError
from dafm_core.evaluation.evaluate import Evaluation, combine, evaluate
from dafm_core.fusion.static.tuning import TunedRule, measure_settings, tuning_metrics
from dafm_core.metrics.spec import parse_metrics

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.fusion.base import Fuser, Progress
    from dafm_core.store.stack import SimilarityStack

Split: TypeAlias = "tuple[Dataset, Dataset]"
"""Training and held-out queries."""


@dataclass(frozen=True)
class Leakage:
    """What held-out queries still share with the training part, as shares of them in [0, 1]."""

    groups: float
    targets: float
    references: float


def grouped_folds(groups: ArrayLike, n_folds: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Return a fold for each query such that no group is in two, folds of about equal size.

    Raises
    ------
    DatasetError
        If there are fewer groups than folds, or fewer than two folds.
    """
    names, codes, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if not 2 <= n_folds <= len(names):
        raise DatasetError(
            f"folds: expected between 2 and {len(names)} (the number of groups), got {n_folds}."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of_group, load = np.empty(len(names), np.int64), np.zeros(n_folds)
    for group in sorted(order, key=lambda g: -sizes[g]):  # largest first, else as shuffled
        fold_of_group[group] = load.argmin()
        load[fold_of_group[group]] += sizes[group]
    return fold_of_group[codes]


def fold_splits(dataset: Dataset, n_folds: int, *, seed: int = 0) -> list[Split]:
    """Return one (training, held-out) pair per grouped fold."""
    fold = grouped_folds(dataset.groups, n_folds, seed=seed)
    ids = np.array(dataset.query_ids, dtype=object)
    return [(dataset.take(ids[fold != f]), dataset.take(ids[fold == f])) for f in range(n_folds)]


def splits_of(dataset: Dataset, folds: int | None, train: Dataset | None, seed: int) -> list[Split]:
    """Return the splits that ``folds`` or a training part ask for; none where neither is given.

    Raises
    ------
    OptionError
        If both are given.
    """
    if folds and train:
        raise OptionError("expected folds or training queries, got both. Choose one.")
    if folds:
        return fold_splits(dataset, folds, seed=seed)
    return [(train, dataset)] if train else []


def leakage(splits: Sequence[Split]) -> Leakage:
    """Return the shares of held-out queries whose group, target or reference the fit part has."""
    counts = np.zeros(3)
    for train, test in splits:
        for column, name in enumerate(("group", "targets", "reference")):
            seen = set().union(*_named(train, name))
            counts[column] += sum(bool(own & seen) for own in _named(test, name))
    shares = counts / max(1, sum(test.n_queries for _, test in splits))
    return Leakage(*shares.tolist())


def clone(fuser: Fuser) -> Fuser:
    """Return an unfitted fuser with the same constructor arguments and the same bank queries."""
    fresh = type(fuser)(**fuser.params())
    fresh.bank_queries = fuser.bank_queries
    return fresh


def fit_and_evaluate(
    fuser: Fuser,
    stacks: Sequence[SimilarityStack],
    dataset: Dataset,
    splits: Sequence[Split],
    *,
    train_stack: SimilarityStack,
    metrics: Sequence[str] | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> list[Evaluation]:
    """Fit a fresh copy on each training part and evaluate it on the held-out one, in every stack.

    Parameters
    ----------
    stacks : sequence of SimilarityStack
        Hold the same scores of the dataset's queries, e.g. with the gallery in another order.
    splits : sequence of (Dataset, Dataset)
        Held-out parts are disjoint and make up ``dataset``.
    name : str, optional
        Of the evaluations, and what ``progress`` is told; the fuser's class by default.

    Returns
    -------
    list of Evaluation
        One per stack, over all queries of ``dataset``.
    """
    name = name or type(fuser).__name__
    parts: list[list[Evaluation]] = [[] for _ in stacks]
    for done, (train, test) in enumerate(splits):
        if progress:
            progress(name, done, len(splits))
        fitted = clone(fuser).fit(train_stack, train)
        for i, stack in enumerate(stacks):
            parts[i].append(evaluate(fitted, stack, test, metrics=metrics))
    if progress:
        progress(name, len(splits), len(splits))
    return [combine(name, evaluations, dataset) for evaluations in parts]


def tune_and_evaluate(
    rules: Mapping[str, TunedRule[Any]],
    stack: SimilarityStack,
    dataset: Dataset,
    splits: Sequence[Split],
    *,
    metrics: Sequence[str] | None = None,
) -> dict[str, Evaluation]:
    """Do what :func:`fit_and_evaluate` does, for rules with few settings and folds of one dataset.

    Every setting is measured once on every query; each fold then only chooses. The result is the
    same, at the cost of one pass over the scores.
    """
    chosen = parse_metrics(metrics or dataset.metrics)
    goals = {name: tuning_metrics(dataset, rule.objective) for name, rule in rules.items()}
    every = {m.name: m for m in (*chosen, *(m for goal in goals.values() for m in goal))}
    measured = measure_settings(rules, stack, dataset, list(every.values()))
    column = {name: i for i, name in enumerate(every)}
    row = {query_id: i for i, query_id in enumerate(dataset.query_ids)}
    results = {}
    for name, values in measured.items():
        goal = values[:, :, [column[m.name] for m in goals[name]]].mean(axis=2)
        kept = np.empty((dataset.n_queries, len(chosen)))
        for train, test in splits:
            fit_rows, held_out = ([row[q] for q in part.query_ids] for part in (train, test))
            best = int(goal[fit_rows].mean(axis=0).argmax())
            kept[held_out] = values[held_out, best, : len(chosen)]
        results[name] = Evaluation.of(name, dataset, [m.name for m in chosen], kept)
    return results


def _named(dataset: Dataset, column: str) -> list[set[str]]:
    values = dataset.queries[column].to_list()
    return [set(value) if column == "targets" else {value} for value in values]
