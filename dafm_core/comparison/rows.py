"""Rows of a comparison: intervals, and paired differences to the best single and best static row.

Which rows there are, and on which queries, is ``compare.py``'s.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.evaluation.evaluate import Evaluation, shared_metrics
from dafm_core.ground.statistics import Resampler, detectable, holm
from dafm_core.metrics.families import Head

logger = logging.getLogger(__name__)

RowKind: TypeAlias = Literal["single", "static", "learned", "oracle"]

MEAN = "mean"
"""Name of the mean of a table's metrics, each counted once (``metrics.spec.each_once``): what rules
are tuned for, and what the gate decides by."""
ALPHA: Final = 0.05


@dataclass(frozen=True)
class Interval:
    """A mean over queries with its 95 % interval, in [0, 1]; all three NaN where undecided."""

    value: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether there is a number: no query depends on candidates that nobody has scored."""
        return not math.isnan(self.value)


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

    @property
    def decided(self) -> bool:
        """Whether there is a number: no query depends on candidates that nobody has scored."""
        return not math.isnan(self.value)

    @property
    def clear(self) -> bool:
        """Whether it is a difference at all: the whole interval is on one side of zero, and the
        adjusted p-value is below 5 %. The one rule for verdicts, marks and charts.
        """
        return (self.low > 0 or self.high < 0) and self.p_holm < ALPHA

    @property
    def gains(self) -> bool:
        """Whether the row is clearly ahead of its reference."""
        return self.clear and self.value > 0

    @property
    def loses(self) -> bool:
        """Whether the row is clearly behind its reference."""
        return self.clear and self.value < 0

    @property
    def numbers(self) -> str:
        """Points, interval and adjusted p-value in words.

        Examples
        --------
        >>> Difference("a", 0.012, 0.001, 0.02, 0.01, 0.04, 1, 1, 1, 0.01).numbers
        '+1.20 [+0.10, +2.00], p 0.040'
        """
        value, low, high = (f"{100 * end:+.2f}" for end in (self.value, self.low, self.high))
        p = "<0.001" if self.p_holm < 0.001 else f"{self.p_holm:.3f}"
        return f"{value} [{low}, {high}], p {p}"


@dataclass(frozen=True)
class Row:
    """One line of the table; mappings are by metric, and also hold the mean of the metrics.

    Differences are only of metrics that both rows decide. ``undecided`` is the share of queries, in
    [0, 1], by metric that is not decided for all.
    """

    name: str
    kind: RowKind
    metrics: Mapping[str, Interval]
    vs_best_single: Mapping[str, Difference] = field(default_factory=dict)
    vs_best_static: Mapping[str, Difference] = field(default_factory=dict)
    undecided: Mapping[str, float] = field(default_factory=dict)
    vs_best_learned: Mapping[str, Difference] = field(default_factory=dict)
    """Of learned fusers, to the best other one; adjusted over the learned fusers (Holm)."""
    complexity: int = 2
    """How much a learned fuser is, see ``Fuser.complexity``; 0 for a model by itself."""
    vs_best: Mapping[str, Difference] = field(default_factory=dict)
    """To the best row of the table of any kind; adjusted over all rows (Holm)."""
    heads: tuple[Head, ...] = ("gallery",)
    """Scores that were measured: with two, the subset's metrics are of a score of their own."""

    @property
    def against(self) -> tuple[Mapping[str, Difference], ...]:
        """Differences to the best single model, the best static rule and the best learned fuser."""
        return self.vs_best_single, self.vs_best_static, self.vs_best_learned

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: metrics and differences in percent, p-values and counts as is.

        A metric that is undecided is None.
        """
        tables: dict[str, Mapping[str, Interval] | Mapping[str, Difference]] = {
            "metrics": self.metrics,
            "vs_best_single": self.vs_best_single,
            "vs_best_static": self.vs_best_static,
            "vs_best_learned": self.vs_best_learned,
            "vs_best": self.vs_best,
        }
        facts = {
            "name": self.name,
            "kind": self.kind,
            "undecided": dict(self.undecided),
            "heads": list(self.heads),
        }
        return facts | {
            table: {metric: in_percent(cell) for metric, cell in cells.items()}
            for table, cells in tables.items()
        }


def summarise(
    evaluations: Mapping[str, Evaluation],
    kinds: Mapping[str, RowKind],
    resampler: Resampler,
    *,
    averaged: Sequence[str] | None = None,
    complexity: Mapping[str, int] | None = None,
    tested: Sequence[str] | None = None,
) -> tuple[Row, ...]:
    """Return rows with intervals, and for fused ones the differences to the best of each kind.

    Parameters
    ----------
    averaged : sequence of str, optional
        Metrics whose mean is taken, by default :func:`shared_metrics`.
    complexity : mapping of row to int, optional
        Of fusers, see ``Fuser.complexity``; 0 for a model by itself.
    tested : sequence of str, optional
        Metrics whose differences are measured, by default all and their mean.
    """
    averaged = shared_metrics(evaluations.values()) if averaged is None else averaged
    names = list(evaluations)
    metrics = [*evaluations[names[0]].metrics, MEAN]
    tables = [with_mean(evaluations[name], averaged) for name in names]
    values = np.stack(tables, axis=1)  # (Q, R, M)
    low, high = intervals(values.reshape(len(values), -1), resampler)
    shape = values.shape[1:]
    means = values.mean(axis=0)
    lows, highs = (np.clip(bound.reshape(shape), 0, 1) for bound in (low, high))
    fused = [r for r, name in enumerate(names) if kinds[name] in ("static", "learned")]
    asked = range(len(metrics)) if tested is None else [metrics.index(name) for name in tested]
    differences = partial(_differences, values, names, metrics, asked, resampler=resampler)
    against: dict[str, dict[str, dict[str, Difference]]] = {}
    for kind in ("single", "static"):
        pool = [r for r, name in enumerate(names) if kinds[name] == kind]
        against[kind] = differences(fused, pool)
    learned = [r for r in fused if kinds[names[r]] == "learned"]
    among = differences(learned, learned)
    every = list(range(len(names)))
    behind = differences(every, every)
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
            {metric: share for metric, share in evaluations[name].undecided.items() if share},
            among.get(name, {}),
            (complexity or {}).get(name, 2),
            behind.get(name, {}),
            evaluations[name].heads,
        )
        for r, name in enumerate(names)
    )


def in_percent(cell: Interval | Difference) -> dict[str, Any] | None:
    """Return JSON values, shares in percent, p-values and counts as they are; None if undecided."""
    shares = ("value", "low", "high", "detectable")
    values = {key: 100 * v if key in shares else v for key, v in asdict(cell).items()}
    return values if cell.decided else None


def _differences(
    values: NDArray[np.float64],
    names: Sequence[str],
    metrics: Sequence[str],
    asked: Sequence[int],
    fused: Sequence[int],
    pool: Sequence[int],
    *,
    resampler: Resampler,
) -> dict[str, dict[str, Difference]]:
    """Return, by row and metric that is asked about, the difference to whichever row of ``pool``
    has the best mean.
    """
    table: dict[str, dict[str, Difference]] = {names[r]: {} for r in fused}
    if not pool or not fused:
        return table
    means = values.mean(axis=0)  # (R, M), NaN where undecided
    best = {
        m: max(decided, key=lambda r, m=m: means[r, m])  # type: ignore[misc]  # m is bound now
        for m in asked
        if (decided := [r for r in pool if not math.isnan(means[r, m])])
    }
    cells = [(r, m) for m in best for r in fused if r != best[m] and not math.isnan(means[r, m])]
    if not cells:
        return table
    paired = np.stack([values[:, r, m] - values[:, best[m], m] for r, m in cells], axis=1)
    found = measure_differences(
        paired, [names[best[m]] for _, m in cells], resampler, asked=[m for _, m in cells]
    )
    for (r, m), difference in zip(cells, found, strict=True):
        table[names[r]][metrics[m]] = difference
    return table


def measure_differences(
    paired: NDArray[np.float64],
    references: Sequence[str],
    resampler: Resampler,
    *,
    asked: Sequence[Hashable],
) -> list[Difference]:
    """Return the difference that each column of paired differences amounts to.

    Parameters
    ----------
    paired : ndarray of shape (n_queries, n_columns)
        In [-1, 1]; a column with a NaN is undecided.
    references : sequence of str
        What was subtracted, by column.
    asked : sequence
        Which question each column answers: p-values of one are adjusted together (Holm).
    """
    undecided: NDArray[np.bool_] = np.any(np.isnan(paired), axis=0)
    paired = np.where(undecided | (np.abs(paired) < 1e-12), 0.0, paired)
    low, high, error = resampler.summary(paired)
    p_values = resampler.sign_flip(paired)
    adjusted = np.ones_like(p_values)
    columns_of: dict[Hashable, list[int]] = {}
    for column in np.flatnonzero(~undecided).tolist():
        columns_of.setdefault(asked[column], []).append(column)
    for columns in columns_of.values():
        adjusted[columns] = holm(p_values[columns])
    asked_most = max(map(len, columns_of.values()), default=0)
    if asked_most / (resampler.n_resamples + 1) >= ALPHA:
        logger.warning(
            "%d resamples are too few for %d differences that are adjusted together: no p-value "
            "can be below %g, and nothing clear. Take at least %d.",
            resampler.n_resamples, asked_most, ALPHA, round(asked_most / ALPHA),
        )  # fmt: skip
    found, nan = [], math.nan
    for c, reference in enumerate(references):
        if undecided[c]:
            found.append(Difference(reference, nan, nan, nan, nan, nan, 0, 0, 0, nan))
            continue
        wins, losses = int((paired[:, c] > 0).sum()), int((paired[:, c] < 0).sum())
        found.append(
            Difference(
                reference=reference,
                value=float(paired[:, c].mean()),
                low=float(low[c]),
                high=float(high[c]),
                p_value=float(p_values[c]),
                p_holm=float(adjusted[c]),
                wins=wins,
                ties=len(paired) - wins - losses,
                losses=losses,
                detectable=detectable(float(error[c])),
            )
        )
    return found


def with_mean(evaluation: Evaluation, averaged: Sequence[str]) -> NDArray[np.float64]:
    """Return an evaluation's metric columns and the mean of some, (n_queries, n_metrics + 1).

    A column that is undecided for a query is NaN for all.
    """
    values = evaluation.per_query
    chosen = values[:, [evaluation.metrics.index(metric) for metric in averaged]]
    mean = chosen.mean(axis=1, keepdims=True) if averaged else np.full((len(values), 1), np.nan)
    table = np.concatenate([values, mean], axis=1)
    return np.where(np.isnan(table).any(axis=0), np.nan, table)


def intervals(
    columns: NDArray[np.float64], resampler: Resampler
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 95 % interval of each column's mean; NaN where a column is."""
    undecided = np.isnan(columns).any(axis=0)
    low, high, _ = resampler.summary(np.where(undecided, 0, columns))
    return np.where(undecided, np.nan, low), np.where(undecided, np.nan, high)
