"""Every subset of providers, fused and evaluated on the same held-out queries, in processes.

What is known of each provider by itself, its part of the query bank first of all, is made once for
a training part and shared by all subsets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from dafm_core.comparison.subset_values import Names
from dafm_core.evaluation.crossfit import tune_and_evaluate
from dafm_core.evaluation.design import Part
from dafm_core.evaluation.evaluate import Evaluation, combine, evaluate, evaluate_providers
from dafm_core.evaluation.workers import in_workers
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.static.tuning import TunedRule
from dafm_core.ground.progress import Progress
from dafm_core.store.stack import SimilarityStack


def evaluate_subsets(
    stack: SimilarityStack,
    fuser: Fuser,
    parts: Sequence[Part],
    subsets: Sequence[Names],
    *,
    metrics: Sequence[str] | None,
    progress: Progress | None,
    n_workers: int,
) -> dict[Names, Evaluation]:
    """Return what each subset gives: chance for none, its own ranking for one, else fused.

    Parameters
    ----------
    stack : SimilarityStack
        All held-out queries.
    parts : sequence of Part
    n_workers : int
        Processes among which the parts are shared, and the subsets of the parts that are left over.
    """
    chance = evaluate_providers(_constant(stack), metrics=metrics)["chance"]
    singles = evaluate_providers(stack, metrics=metrics)
    several = [names for names in subsets if len(names) > 1]
    rule = fuser.as_rule()
    items: Sequence[Any]
    work: Callable[[Any], dict[Names, Evaluation]]
    if rule is not None and len(parts) > 1 and not stack.gallery.unknown:
        items, work = several, partial(_tune, rule=rule, stack=stack, parts=parts, metrics=metrics)
    else:
        items = deal(parts, several, n_workers)
        work = partial(_fit, fuser=fuser, metrics=metrics)
    pieces: dict[Names, list[Evaluation]] = {names: [] for names in several}
    for done, some in enumerate(in_workers(work, items, n_workers=n_workers), start=1):
        if progress:
            progress("subsets of providers", done, len(items))
        for names, evaluation in some.items():
            pieces[names].append(evaluation)
    found = {names: combine(fuser.name, own, stack.dataset) for names, own in pieces.items()}
    found |= {(name,): evaluation for name, evaluation in singles.items()} | {(): chance}
    return {names: found[names] for names in subsets}


def deal(
    parts: Sequence[Part], subsets: Sequence[Names], n_workers: int
) -> list[tuple[Part, list[Names]]]:
    """Return what to fit on what, so that processes end nearly together.

    Each has as many whole parts, where what is made of a part is made once; the subsets of a part
    that is left over are dealt by their sizes.

    Examples
    --------
    >>> deal(["first", "second", "third"], [("a",), ("b",), ("a", "b")], 2)[2:]
    [('third', [('a', 'b')]), ('third', [('a',), ('b',)])]
    """
    n_whole = len(parts) - len(parts) % n_workers
    hands: list[list[Names]] = [[] for _ in range(n_workers)]
    for names in sorted(subsets, key=len, reverse=True):
        min(hands, key=lambda hand: sum(map(len, hand))).append(names)
    items = [(part, list(subsets)) for part in parts[:n_whole]]
    return items + [(part, hand) for part in parts[n_whole:] for hand in hands if hand]


def _fit(
    item: tuple[Part, Sequence[Names]], *, fuser: Fuser, metrics: Sequence[str] | None
) -> dict[Names, Evaluation]:
    """Return what subsets give on one part."""
    (train, test), subsets = item
    train = train and train.remembering()
    found = {}
    for names in subsets:
        fitted = fuser if train is None else fuser.clone().fit(train.select(names))
        found[names] = evaluate(fitted, test.select(names), metrics=metrics)
    return found


def _tune(
    names: Names,
    *,
    rule: TunedRule[Any],
    stack: SimilarityStack,
    parts: Sequence[Part],
    metrics: Sequence[str] | None,
) -> dict[Names, Evaluation]:
    """Return what a rule that is tuned gives, on all parts at once."""
    selected = [Part(train and train.select(names), test.select(names)) for train, test in parts]
    tuned = tune_and_evaluate({"": rule}, stack.select(names), selected, metrics=metrics)
    return {names: tuned[""]}


def _constant(stack: SimilarityStack) -> SimilarityStack:
    zeros = np.broadcast_to(np.float32(0), (stack.n_queries, stack.n_gallery))
    return SimilarityStack.from_matrices({"chance": zeros}, stack.dataset)
