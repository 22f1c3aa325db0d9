"""Learned against static against single, on the same held-out queries: values, intervals, tests.

Every difference is paired by query and every interval resamples whole groups. Nothing is printed
here except by ``str``; tables and pages are ``reporting``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.audit import Audits, audit, order_changes
from dafm_core.crossfit import (
    Progress,
    Split,
    fit_and_evaluate,
    fold_splits,
    leakage,
    tune_and_evaluate,
)
from dafm_core.errors import OptionError
from dafm_core.evaluation import Evaluation, evaluate, evaluate_providers, oracle
from dafm_core.fusion.static.average import BestSingle
from dafm_core.fusion.static.tuning import TunedRule
from dafm_core.gate import Verdict, verdict
from dafm_core.statistics import Resampler, detectable, holm

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.fusion.base import Fuser
    from dafm_core.stacking import SimilarityStack

RowKind: TypeAlias = Literal["single", "static", "learned", "oracle"]

MEAN = "mean"
"""Name of the mean of a table's metrics: what rules are tuned for, and what the gate decides by."""


@dataclass(frozen=True)
class Interval:
    """A mean over queries with its 95 % interval, in [0, 1]."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A row minus its reference, paired by query, in [-1, 1].

    Parameters
    ----------
    reference : str
        The row subtracted: the best of its kind on this metric in this very table, which favours
        it.
    value, low, high : float
        Mean difference with its 95 % interval.
    p_value, p_holm : float
        Sign-flip test over groups; adjusted for all fused rows of the table (Holm).
    wins, ties, losses : int
        Queries on which the row is better than, as good as and worse than the reference.
    detectable : float
        Smallest true difference that this many groups would reveal four times in five.
    """

    reference: str
    value: float
    low: float
    high: float
    p_value: float
    p_holm: float
    wins: int
    ties: int
    losses: int
    detectable: float


@dataclass(frozen=True)
class Row:
    """One line of the table; mappings are by metric, and also hold the mean of the metrics."""

    name: str
    kind: RowKind
    metrics: Mapping[str, Interval]
    vs_best_single: Mapping[str, Difference] = field(default_factory=dict)
    vs_best_static: Mapping[str, Difference] = field(default_factory=dict)


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
            "rows": [_row_to_json(row) for row in self.rows],
            "oracle": _row_to_json(self.oracle),
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
    fusers: Mapping[str, Fuser],
    *,
    folds: int | None = None,
    train: Dataset | None = None,
    train_stack: SimilarityStack | None = None,
    metrics: Sequence[str] | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
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
    fusers : mapping of row name to Fuser
    folds : int, optional
    train : Dataset, optional
        Training queries, in ``train_stack`` if they are of another protocol, else in ``stack``.
    metrics : sequence of str, optional
        By default the dataset's own.
    n_resamples : int, default=10_000
        For intervals and tests.
    seed : int, default=0
        Of folds and resamples; fusers have their own.
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
    splits = _splits(dataset, folds, train, seed)
    _check_names(fusers, stack)
    evaluations = evaluate_providers(stack, dataset, metrics=metrics)
    kinds: dict[str, RowKind] = dict.fromkeys(evaluations, "single")
    best_possible = oracle(evaluations)
    shuffled = _shuffled(stack, seed)
    changes: dict[str, dict[str, float]] = {}
    tuned = {n: f for n, f in fusers.items() if isinstance(f, TunedRule) and folds}
    results = tune_and_evaluate(tuned, stack, dataset, splits, metrics=metrics) if tuned else {}
    for done, (name, fuser) in enumerate(fusers.items()):
        if progress:
            progress(name, done, len(fusers))
        kinds[name] = "single" if isinstance(fuser, BestSingle) else fuser.kind
        if name not in results:
            stacks = [stack, shuffled] if fuser.kind == "learned" else [stack]
            found = _held_out(
                fuser, stacks, dataset, splits, train_stack=train_stack or stack, metrics=metrics
            )
            results[name] = found[0]
            if len(found) > 1:
                changes[name] = order_changes(*found)
        evaluations[name] = replace(results[name], name=name)
    if progress:
        progress("intervals and tests", len(fusers), len(fusers))
    resampler = Resampler(dataset.groups, n_resamples=n_resamples, seed=seed)
    audits = audit(stack, dataset, metrics=metrics, leakage=leakage(splits) if splits else None)
    order = sorted(kinds, key=lambda name: ("single", "static", "learned").index(kinds[name]))
    evaluations = {name: evaluations[name] for name in order}
    return Comparison(
        protocol=dataset.protocol,
        design=_design(folds, train, splits),
        metrics=best_possible.metrics,
        rows=summarise(evaluations, kinds, resampler),
        oracle=summarise({"oracle": best_possible}, {"oracle": "oracle"}, resampler)[0],
        audits=replace(audits, order=replace(audits.order, changes=changes)),
        evaluations=evaluations,
        n_queries=dataset.n_queries,
        n_groups=resampler.n_groups,
    )


def summarise(
    evaluations: Mapping[str, Evaluation], kinds: Mapping[str, RowKind], resampler: Resampler
) -> tuple[Row, ...]:
    """Return rows with intervals, and for fused ones the differences to the best of each kind."""
    names = list(evaluations)
    metrics = [*evaluations[names[0]].metrics, MEAN]
    values = np.stack([_with_mean(evaluations[name]) for name in names], axis=1)  # (Q, R, M)
    low, high, _ = resampler.summary(values.reshape(len(values), -1))
    shape = values.shape[1:]
    means, lows, highs = values.mean(axis=0), low.reshape(shape), high.reshape(shape)
    fused = [r for r, name in enumerate(names) if kinds[name] in ("static", "learned")]
    against: dict[str, dict[str, dict[str, Difference]]] = {}
    for kind in ("single", "static"):
        pool = [r for r, name in enumerate(names) if kinds[name] == kind]
        against[kind] = _differences(values, names, metrics, fused, pool, resampler)
    return tuple(
        Row(
            name,
            kinds[name],
            {
                metric: Interval(*map(float, (means[r, m], lows[r, m], highs[r, m])))
                for m, metric in enumerate(metrics)
            },
            against["single"].get(name, {}),
            against["static"].get(name, {}),
        )
        for r, name in enumerate(names)
    )


def _differences(
    values: NDArray[np.float64],
    names: Sequence[str],
    metrics: Sequence[str],
    fused: Sequence[int],
    pool: Sequence[int],
    resampler: Resampler,
) -> dict[str, dict[str, Difference]]:
    """Return, by row and metric, the difference to whichever row of ``pool`` has the best mean."""
    table: dict[str, dict[str, Difference]] = {names[r]: {} for r in fused}
    if not pool or not fused:
        return table
    best = [pool[int(values[:, pool, m].mean(axis=0).argmax())] for m in range(len(metrics))]
    cells = [(r, m) for m in range(len(metrics)) for r in fused if r != best[m]]
    if not cells:
        return table
    paired = np.stack([values[:, r, m] - values[:, best[m], m] for r, m in cells], axis=1)
    paired[np.abs(paired) < 1e-12] = 0.0
    low, high, error = resampler.summary(paired)
    p_values = resampler.sign_flip(paired)
    adjusted = np.empty_like(p_values)
    for m in range(len(metrics)):
        same = [c for c, cell in enumerate(cells) if cell[1] == m]
        adjusted[same] = holm(p_values[same])
    for c, (r, m) in enumerate(cells):
        column = paired[:, c]
        wins, losses = int((column > 0).sum()), int((column < 0).sum())
        table[names[r]][metrics[m]] = Difference(
            reference=names[best[m]],
            value=float(column.mean()),
            low=float(low[c]),
            high=float(high[c]),
            p_value=float(p_values[c]),
            p_holm=float(adjusted[c]),
            wins=wins,
            ties=len(column) - wins - losses,
            losses=losses,
            detectable=detectable(float(error[c])),
        )
    return table


def _with_mean(evaluation: Evaluation) -> NDArray[np.float64]:
    values = evaluation.per_query
    return np.concatenate([values, values.mean(axis=1, keepdims=True)], axis=1)


def _held_out(
    fuser: Fuser,
    stacks: Sequence[SimilarityStack],
    dataset: Dataset,
    splits: Sequence[Split],
    *,
    train_stack: SimilarityStack,
    metrics: Sequence[str] | None,
) -> list[Evaluation]:
    if splits:
        return fit_and_evaluate(
            fuser, stacks, dataset, splits, train_stack=train_stack, metrics=metrics
        )
    return [evaluate(fuser, stack, dataset, metrics=metrics) for stack in stacks]


def _splits(
    dataset: Dataset, folds: int | None, train: Dataset | None, seed: int
) -> Sequence[Split]:
    if folds and train:
        raise OptionError("compare: expected folds or training queries, got both. Choose one.")
    if folds:
        return fold_splits(dataset, folds, seed=seed)
    return [(train, dataset)] if train else []


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


def _row_to_json(row: Row) -> dict[str, Any]:
    def percent(values: Mapping[str, Any]) -> dict[str, Any]:
        scaled = ("value", "low", "high", "detectable")
        return {k: 100 * v if k in scaled else v for k, v in values.items()}

    tables = ("metrics", "vs_best_single", "vs_best_static")
    return {"name": row.name, "kind": row.kind} | {
        table: {metric: percent(asdict(cell)) for metric, cell in getattr(row, table).items()}
        for table in tables
    }
