"""Learned against static against single, on the same held-out queries: values, intervals, tests.

Every difference is paired by query and every interval resamples whole groups. Nothing is printed
here except by ``str``; tables and pages are ``reporting``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from dafm_core.catalog import PluginCatalog
from dafm_core.comparison.audit import Audits, audit, order_changes
from dafm_core.comparison.rows import MEAN, Row, RowKind, summarise
from dafm_core.comparison.verdict import Verdict, verdict
from dafm_core.errors import OptionError
from dafm_core.evaluation.crossfit import (
    Split,
    fit_and_evaluate,
    leakage,
    splits_of,
    tune_and_evaluate,
)
from dafm_core.evaluation.evaluate import Evaluation, evaluate, evaluate_providers, oracle
from dafm_core.evaluation.trials import TrialLog
from dafm_core.fusion.static.average import BestSingle
from dafm_core.fusion.static.tuning import TunedRule
from dafm_core.ground.statistics import Resampler

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.fusion.base import Fuser, Progress
    from dafm_core.store.stack import SimilarityStack


@dataclass(frozen=True, eq=False)
class Comparison:
    """What ``compare`` returns.

    Parameters
    ----------
    protocol : str
    design : str
        How training and held-out queries were separated, in words.
    metrics : tuple of str
        The table's columns, the headline first.
    rows : tuple of Row
        Singles, then static rules, then learned fusers; the oracle is apart, nothing can reach it.
    oracle : Row
        Per query the best single, by metric.
    audits : Audits
    evaluations : mapping of str to Evaluation
        Per-query frames of every row.
    n_queries, n_groups : int
    """

    protocol: str
    design: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    oracle: Row
    audits: Audits
    evaluations: Mapping[str, Evaluation] = field(repr=False)
    n_queries: int
    n_groups: int

    def row(self, name: str) -> Row:
        """Return the row called ``name``."""
        return next(row for row in self.rows if row.name == name)

    @cached_property
    def verdict(self) -> Verdict:
        """What to deploy, and why (see ``gate.py``)."""
        return verdict(self)

    @property
    def frame(self) -> pl.DataFrame:
        """Every row's per-query metrics: ``row, query_id, group`` and one column per metric."""
        frames = [
            evaluation.frame.select(pl.lit(name).alias("row"), pl.all())
            for name, evaluation in self.evaluations.items()
        ]
        return pl.concat(frames)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: all metrics and differences in percent, p-values and counts as is."""
        return {
            "protocol": self.protocol,
            "n_queries": self.n_queries,
            "n_groups": self.n_groups,
            "design": self.design,
            "metrics": list(self.metrics),
            "rows": [row.to_json() for row in self.rows],
            "oracle": self.oracle.to_json(),
            "verdict": asdict(self.verdict),
            "audits": self.audits.to_json(),
        }

    def __str__(self) -> str:
        names = [*self.metrics, MEAN]
        width = max(len(row.name) for row in (*self.rows, self.oracle)) + 2
        lines = [
            f"{self.protocol}: {self.n_queries} queries, {self.n_groups} groups; {self.design}"
        ]
        lines.append(" " * width + " ".join(f"{name:>11}" for name in names))
        for row in (*self.rows, self.oracle):
            cells = " ".join(f"{100 * row.metrics[name].value:11.2f}" for name in names)
            lines.append(f"{row.name:<{width}}{cells}")
        return "\n".join([*lines, self.verdict.reason])


def compare(
    stack: SimilarityStack,
    dataset: Dataset,
    fusers: Mapping[str, Fuser] | Sequence[str],
    *,
    folds: int | None = None,
    train: Dataset | None = None,
    train_stack: SimilarityStack | None = None,
    metrics: Sequence[str] | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
    trials: TrialLog | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare fusers with each other, with every single provider and with the best of them.

    With ``folds``, the queries are split by group, and each is ranked by copies of the fusers
    fitted on the other folds. With ``train``, copies are fitted there. With neither, fusers are
    used as they are: fitted on other queries, or static rules with their defaults.

    Parameters
    ----------
    stack : SimilarityStack
    dataset : Dataset
        Queries to compare on.
    fusers : mapping of row name to Fuser, or sequence of names of registered fusers
    folds : int, optional
    train : Dataset, optional
        Training queries, in ``train_stack`` if they are of another protocol, else in ``stack``.
    metrics : sequence of str, optional
        By default the dataset's own.
    n_resamples : int, default=10_000
        For intervals and tests.
    seed : int, default=0
        Of folds and resamples; fusers have their own.
    trials : TrialLog, optional
        Where to count what has been measured on these queries.
    progress : callable, optional
        Called as ``progress(what, done, total)``.

    Raises
    ------
    OptionError
        If both ``folds`` and ``train`` are given, a row is named like a provider, or a metric is
        unknown.
    LeakageError
        If a fuser given fitted has seen a query of ``dataset``.
    DatasetError, AlignmentError, FuserError
        As ``evaluate`` and ``Fuser.fit``.
    """
    if not isinstance(fusers, Mapping):
        catalog = PluginCatalog.discover()
        fusers = {name: catalog.load_fuser(name) for name in fusers}
    splits = splits_of(dataset, folds, train, seed)
    _check_names(fusers, stack)
    singles = evaluate_providers(stack, dataset, metrics=metrics)
    fused, changes = _evaluate_fusers(
        fusers,
        (stack, _shuffled(stack, seed)),
        dataset,
        splits,
        train_stack=train_stack or stack,
        metrics=metrics,
        progress=progress,
    )
    if progress:
        progress("intervals and tests", 0, 1)
    kinds: dict[str, RowKind] = dict.fromkeys(singles, "single")
    kinds |= {name: _kind(fuser) for name, fuser in fusers.items()}
    order = sorted(kinds, key=lambda name: ("single", "static", "learned").index(kinds[name]))
    evaluations = {name: replace((singles | fused)[name], name=name) for name in order}
    resampler = Resampler(dataset.groups, n_resamples=n_resamples, seed=seed)
    audits = audit(stack, dataset, metrics=metrics, leakage=leakage(splits) if splits else None)
    best_possible, design = oracle(singles), _design(folds, train, splits)
    if trials:
        split = f"{design}, seed {seed}" if folds else design
        counted = trials.add(dataset, fusers.values(), stack.names, design=split)
        audits = replace(audits, trials=counted)
    result = Comparison(
        protocol=dataset.protocol,
        design=design,
        metrics=best_possible.metrics,
        rows=summarise(evaluations, kinds, resampler),
        oracle=summarise({"oracle": best_possible}, {"oracle": "oracle"}, resampler)[0],
        audits=replace(audits, order=replace(audits.order, changes=changes)),
        evaluations=evaluations,
        n_queries=dataset.n_queries,
        n_groups=resampler.n_groups,
    )
    if progress:
        progress("intervals and tests", 1, 1)
    return result


def _evaluate_fusers(
    fusers: Mapping[str, Fuser],
    stacks: tuple[SimilarityStack, SimilarityStack],
    dataset: Dataset,
    splits: Sequence[Split],
    *,
    train_stack: SimilarityStack,
    metrics: Sequence[str] | None,
    progress: Progress | None,
) -> tuple[dict[str, Evaluation], dict[str, dict[str, float]]]:
    """Return every fuser's evaluation, and what learned ones lose when the gallery is shuffled.

    ``stacks`` holds the scores in the given order of the gallery, and in a shuffled one.
    """
    found: dict[str, Evaluation] = {}
    changes: dict[str, dict[str, float]] = {}
    if len(splits) > 1:
        rules = {n: f for n, f in fusers.items() if isinstance(f, TunedRule)}
        if progress and rules:
            progress("tuned rules", 0, len(rules))
        found |= tune_and_evaluate(rules, stacks[0], dataset, splits, metrics=metrics)
        if progress and rules:
            progress("tuned rules", len(rules), len(rules))
    for name, fuser in fusers.items():
        if name in found:
            continue
        orders = stacks if fuser.kind == "learned" else stacks[:1]
        if splits:
            results = fit_and_evaluate(
                fuser,
                orders,
                dataset,
                splits,
                train_stack=train_stack,
                metrics=metrics,
                name=name,
                progress=progress,
            )
        else:
            results = [evaluate(fuser, stack, dataset, metrics=metrics) for stack in orders]
        found[name] = results[0]
        if len(results) > 1:
            changes[name] = order_changes(*results)
    return found, changes


def _kind(fuser: Fuser) -> RowKind:
    return "single" if isinstance(fuser, BestSingle) else fuser.kind


def _design(folds: int | None, train: Dataset | None, splits: Sequence[Split]) -> str:
    if folds:
        return f"cross-fitted on {len(splits)} folds that share no group"
    if train:
        return f"fitted on {train.n_queries} queries of {train.protocol}"
    return "fusers as given: fitted on other queries, or static rules with their defaults"


def _check_names(fusers: Iterable[str], stack: SimilarityStack) -> None:
    taken = [name for name in fusers if name in stack.names or name == "oracle"]
    if taken:
        raise OptionError(f"compare: the row name {taken[0]!r} is taken by a provider. Rename it.")


def _shuffled(stack: SimilarityStack, seed: int) -> SimilarityStack:
    order = np.random.default_rng(seed).permutation(stack.n_gallery)
    return stack.take_gallery([stack.gallery_ids[column] for column in order])
