"""Held-out evaluation: every query is ranked by a fusion that has seen nothing of its group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dafm_core.evaluation.design import Part
from dafm_core.evaluation.evaluate import Evaluation, combine, evaluate
from dafm_core.fusion.base import Fuser, Progress
from dafm_core.fusion.static.tuning import TunedRule, measure_settings, tuning_metrics
from dafm_core.metrics.spec import parse_metrics
from dafm_core.store.stack import SimilarityStack


def fit_and_evaluate(
    fuser: Fuser,
    stack: SimilarityStack,
    parts: Sequence[Part],
    *,
    orders: Sequence[Sequence[str] | None] = (None,),
    metrics: Sequence[str] | None = None,
    bank: SimilarityStack | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> list[Evaluation]:
    """Fit a fresh copy on each training part and evaluate it on the held-out one.

    Where a part has nothing to fit on, the fuser is evaluated as it is.

    Parameters
    ----------
    stack : SimilarityStack
        All held-out queries.
    parts : sequence of Part
        Of a :class:`~dafm_core.evaluation.design.Design`.
    orders : sequence of sequences of str or None
        Orders of the gallery to evaluate in; None is the order it has.
    bank : SimilarityStack, optional
        Unlabelled queries for the query bank.
    name : str, optional
        Of the evaluations, and what ``progress`` is told; the fuser's class by default.

    Returns
    -------
    list of Evaluation
        One per order, over all queries of the stack.
    """
    name = name or fuser.name
    evaluations: list[list[Evaluation]] = [[] for _ in orders]
    for done, (train, test) in enumerate(parts):
        if progress:
            progress(name, done, len(parts))
        fitted = fuser if train is None else fuser.clone().fit(train, bank=bank)
        for i, order in enumerate(orders):
            ordered = test if order is None else test.take_gallery(order)
            evaluations[i].append(evaluate(fitted, ordered, metrics=metrics))
    if progress:
        progress(name, len(parts), len(parts))
    return [combine(name, found, stack.dataset) for found in evaluations]


def tune_and_evaluate(
    rules: Mapping[str, TunedRule[Any]],
    stack: SimilarityStack,
    parts: Sequence[Part],
    *,
    metrics: Sequence[str] | None = None,
) -> dict[str, Evaluation]:
    """Do what :func:`fit_and_evaluate` does, for rules with few settings and folds of one stack.

    Every setting is measured once on every query; each fold then only chooses. The result is the
    same, at the cost of one pass over the scores.
    """
    dataset = stack.dataset
    chosen = parse_metrics(metrics or dataset.metrics, of=dataset.metrics)
    goals = {name: tuning_metrics(dataset, rule.objective) for name, rule in rules.items()}
    every = {m.name: m for m in (*chosen, *(m for goal in goals.values() for m in goal))}
    measured = measure_settings(rules, stack, list(every.values()))
    column = {name: i for i, name in enumerate(every)}
    results = {}
    for name, values in measured.items():
        goal = values[:, :, [column[m.name] for m in goals[name]]].mean(axis=2)
        kept = np.empty((dataset.n_queries, len(chosen)))
        for train, test in parts:
            fit_rows = stack.query_ids.positions(train.query_ids if train else ())
            held_out = stack.query_ids.positions(test.query_ids)
            best = int(goal[fit_rows].mean(axis=0).argmax())
            kept[held_out] = values[held_out, best, : len(chosen)]
        results[name] = Evaluation.of(name, dataset, [m.name for m in chosen], kept)
    return results
