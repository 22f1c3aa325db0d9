"""Held-out evaluation: every query is ranked by a fusion that has seen nothing of its group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.evaluation.design import Part
from dafm_core.evaluation.evaluate import Evaluation, combine, evaluate, evaluate_together
from dafm_core.evaluation.workers import in_workers
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.channels.bank import without_groups
from dafm_core.fusion.channels.banked import BankedFusion
from dafm_core.fusion.static.tuning import TunedRule, measure_settings, tuning_metrics
from dafm_core.ground.progress import Progress
from dafm_core.metrics.spec import parse_metrics
from dafm_core.store.stack import SimilarityStack

N_ORDER_QUERIES: Final = 32
"""Queries whose scores show whether a fuser depends on the order of the gallery."""


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
        Unlabelled queries for the query bank; those of groups that are held out are left out.
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
        allowed = None if bank is None else without_groups(bank, test)
        fitted = fuser if train is None else fuser.clone().fit(train, bank=allowed)
        for i, order in enumerate(orders):
            ordered = test if order is None else test.take_gallery(order)
            evaluations[i].append(evaluate(fitted, ordered, metrics=metrics))
    if progress:
        progress(name, len(parts), len(parts))
    return [combine(name, found, stack.dataset) for found in evaluations]


@dataclass(frozen=True, kw_only=True)
class _PartWork:
    """Fits and evaluates some fusers on one part; query banks and examples are made once."""

    fusers: Mapping[str, Fuser]
    shuffled: Sequence[str]
    metrics: Sequence[str] | None
    bank: SimilarityStack | None

    def __call__(
        self, item: tuple[Part, Sequence[str]]
    ) -> dict[str, tuple[Evaluation, Evaluation]]:
        """Return each fuser's evaluation in the gallery's order, and in the shuffled one."""
        (train, test), names = item
        train = train and train.remembering()
        bank = None if self.bank is None else without_groups(self.bank, test)
        fitted = {
            name: fuser if train is None else fuser.clone().fit(train, bank=bank)
            for name, fuser in self.fusers.items()
            if name in names
        }
        del train  # and the scores that were kept while fitting
        evaluations = evaluate_together(list(fitted.values()), test, metrics=self.metrics)
        found = {}
        for (name, fuser), given in zip(fitted.items(), evaluations, strict=True):
            other = given
            if fuser.kind == "learned" and sees_order(fuser, test, self.shuffled):
                other = evaluate(fuser, test.take_gallery(self.shuffled), metrics=self.metrics)
            found[name] = given, other
        return found


def fit_and_evaluate_all(
    fusers: Mapping[str, Fuser],
    stack: SimilarityStack,
    parts: Sequence[Part],
    *,
    shuffled: Sequence[str],
    metrics: Sequence[str] | None = None,
    bank: SimilarityStack | None = None,
    progress: Progress | None = None,
    n_workers: int = 1,
    meanwhile: Callable[[], object] | None = None,
) -> dict[str, tuple[Evaluation, Evaluation]]:
    """Do what :func:`fit_and_evaluate` does for several fusers, which share what is made of a part.

    Parameters
    ----------
    shuffled : sequence of str
        Another order of the gallery. A learned fuser is evaluated in it wherever a look at a few
        queries shows that it tells the two apart; else both evaluations are the same.
    n_workers : int, default=1
        Processes among which the parts are shared; each result is the same bits.
    meanwhile : callable, optional
        What this process does while others begin; also where there is nothing to fit.

    Returns
    -------
    dict of str to (Evaluation, Evaluation)
        Over all queries of the stack: in the gallery's order, and in the shuffled one.
    """
    work = _PartWork(fusers=fusers, shuffled=shuffled, metrics=metrics, bank=bank)
    items = [(part, names) for names in _that_share(fusers) for part in parts]
    found: dict[str, list[tuple[Evaluation, Evaluation]]] = {name: [] for name in fusers}
    _tell(progress, fusers, 0, len(parts))
    for result in in_workers(work, items, n_workers=n_workers, meanwhile=meanwhile):
        for name, evaluations in result.items():
            found[name].append(evaluations)
            _tell(progress, [name], len(found[name]), len(parts))
    return {
        name: (
            combine(name, (given for given, _ in evaluations), stack.dataset),
            combine(name, (other for _, other in evaluations), stack.dataset),
        )
        for name, evaluations in found.items()
    }


def _that_share(fusers: Mapping[str, Fuser]) -> list[list[str]]:
    """Return the names of fusers that share a bank or examples, then each other one by itself,
    rules last: processes end nearly together where the longest work is dealt first.
    """
    sharing = [name for name, fuser in fusers.items() if isinstance(fuser, BankedFusion)]
    others = [name for name in fusers if name not in sharing]
    alone = [[name] for name in sorted(others, key=lambda name: fusers[name].kind != "learned")]
    return [sharing, *alone] if sharing else alone


def _tell(progress: Progress | None, names: Iterable[str], done: int, total: int) -> None:
    """Tell of each fuser how many parts are done."""
    if progress is not None:
        for name in names:
            progress(name, done, total)


def sees_order(fuser: Fuser, stack: SimilarityStack, shuffled: Sequence[str]) -> bool:
    """Say whether a fitted fuser scores a few queries differently in another order of the gallery.

    Whatever it declares: that is what an audit is for. One that treats each candidate by itself
    need not be evaluated twice.
    """
    few = stack.take_queries(stack.query_ids[:N_ORDER_QUERIES])
    given = fuser.fuse(few)
    other = fuser.fuse(few.take_gallery(shuffled))
    columns = other.gallery_ids.positions(given.gallery_ids)
    heads = [(given.scores, other.scores)]
    if given.subset_scores is not None and other.subset_scores is not None:
        heads.append((given.subset_scores, other.subset_scores))
    return not all(_alike(one, two[:, columns]) for one, two in heads)


def _alike(one: NDArray[np.float32], two: NDArray[np.float32]) -> bool:
    """Say whether two matrices of scores differ by rounding at most."""
    shown = np.isfinite(one)
    spread = float(np.ptp(one[shown])) if shown.any() else 0.0
    return np.allclose(one, two, rtol=1e-5, atol=1e-5 * spread)


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
