"""What each provider is worth: every subset and every order of them, fused and evaluated alike.

The paper adds models one at a time (section 4.5, Fig. 3); here all 2^K subsets are fused, so that
every order is known, and the Shapley value of each provider with its interval. Data only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations, permutations
from math import comb
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.comparison.provenance import Provenance
from dafm_core.comparison.rows import (
    MEAN,
    Difference,
    Interval,
    in_percent,
    intervals,
    measure_differences,
    with_mean,
)
from dafm_core.errors import OptionError, closest
from dafm_core.evaluation.crossfit import fit_and_evaluate, tune_and_evaluate
from dafm_core.evaluation.design import Folds, Part, Train
from dafm_core.evaluation.evaluate import Evaluation, evaluate_providers, shared_metrics
from dafm_core.evaluation.workers import in_workers
from dafm_core.fusion.base import Fuser
from dafm_core.ground.progress import Progress
from dafm_core.ground.statistics import Resampler
from dafm_core.metrics.families import Head
from dafm_core.metrics.spec import heads_words, metric_label
from dafm_core.store.stack import SimilarityStack

MAX_PROVIDERS: Final = 6
"""2^6 fusions and 720 orders; more is neither affordable nor readable."""

Names: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One provider joining others: their names, and the change by metric.

    P-values are adjusted over all steps (Holm).
    """

    added: str
    to: Names
    change: Mapping[str, Difference]


@dataclass(frozen=True)
class Incremental:
    """What ``incremental`` returns; intervals are by metric, the mean of metrics among them.

    Parameters
    ----------
    subsets : mapping of tuple of str to mapping
        Values of every set of providers, names sorted; one provider alone is ranked as it is.
    steps : mapping of (tuple of str, str) to Step
        Every provider joining every set that lacks it, by (set, provider).
    shapley : mapping of str to mapping
        Mean over all orders of what a provider adds, starting at chance; the values of all
        providers and ``chance`` sum to the value of the full set.
    chance : mapping of str to float
        What a constant scorer gets.
    vs_best : mapping of tuple of str to mapping
        Every set's difference to the best set of each metric but that set's own, adjusted over all
        sets (Holm).
    notes : tuple of str
        What the dataset names in vain, e.g. targets outside the gallery; a line per kind.
    labels : mapping of str to str
        What tables call a provider; its name where left out.
    heads : tuple of str
        Scores of the fuser that were measured: with two, subsets are ranked by one of their own.
    provenance : Provenance, optional
        What it takes to do it again.
    """

    protocol: str
    fuser: str
    base: str | None
    n_queries: int
    n_groups: int
    metrics: tuple[str, ...]
    subsets: Mapping[Names, Mapping[str, Interval]] = field(repr=False)
    steps: Mapping[tuple[Names, str], Step] = field(repr=False)
    shapley: Mapping[str, Mapping[str, Interval]]
    chance: Mapping[str, float]
    vs_best: Mapping[Names, Mapping[str, Difference]] = field(repr=False, default_factory=dict)
    notes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    heads: tuple[Head, ...] = ("gallery",)
    provenance: Provenance | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        names = ", ".join(self.shapley)
        return f"<Incremental of {self.fuser} on {self.protocol}, every subset of {names}>"

    def label(self, name: str) -> str:
        """Return what tables and sentences call a provider."""
        return self.labels.get(name, name)

    def joined(self, names: Sequence[str]) -> str:
        """Return what tables call a set of providers."""
        return " + ".join(map(self.label, names))

    @property
    def everyone(self) -> Names:
        """All providers."""
        return max(self.subsets, key=len)

    @property
    def added_last(self) -> dict[str, Step]:
        """What each provider adds to all the others; empty for one provider."""
        steps = [s for s in self.steps.values() if len(s.to) == len(self.shapley) - 1]
        return {step.added: step for step in steps}

    @property
    def head_words(self) -> list[str]:
        """Which score of the fuser each metric is of, a line where it has two heads."""
        if len(self.heads) == 1:
            return []
        return [heads_words(self.fuser, self.heads, self.metrics)]

    @property
    def orders(self) -> list[Names]:
        """Every order of the providers, those that start with ``base`` where one is given."""
        return [
            order
            for order in permutations(self.shapley)
            if self.base is None or order[0] == self.base
        ]

    def path(self, order: Names) -> list[Step]:
        """Return the steps of one order, from its first provider on."""
        return [self.steps[tuple(sorted(order[:i])), order[i]] for i in range(1, len(order))]

    def monotone(self, metric: str) -> str:
        """Say in one sentence whether adding providers ever lowers a metric, over all orders."""
        label = metric_label(metric)
        every = [step for order in self.orders for step in self.path(order)]
        if not every:
            return f"{label}: one provider, nothing to add."
        steps = [step for step in every if step.change[metric].decided]
        if not steps:
            return f"{label}: undecided, because shortlists leave candidates without a score."
        worst = min(steps, key=lambda step: step.change[metric].value)
        change = worst.change[metric]
        where = f"{self.label(worst.added)} joining {self.joined(worst.to)}: "
        if change.value >= 0:
            says = "rises at every" if change.value > 0 else "does not fall at any"
            return f"{label} {says} step of any order (least: {where}{change.numbers})."
        falling = {(s.added, s.to) for s in steps if s.change[metric].loses}
        if not falling:
            return f"{label} never falls clearly (worst: {where}{change.numbers})."
        return f"{label} falls clearly at {len(falling)} steps (worst: {where}{change.numbers})."

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, metrics in percent."""
        return {
            "protocol": self.protocol,
            "fuser": self.fuser,
            "base": self.base,
            "n_queries": self.n_queries,
            "n_groups": self.n_groups,
            "metrics": list(self.metrics),
            "subsets": [
                {"providers": list(names), "metrics": _percent(cells)}
                for names, cells in self.subsets.items()
            ],
            "steps": [
                {"added": step.added, "to": list(step.to), "change": _percent(step.change)}
                for step in self.steps.values()
            ],
            "orders": [list(order) for order in self.orders],
            "monotone": {metric: self.monotone(metric) for metric in (*self.metrics, MEAN)},
            "shapley": {name: _percent(cells) for name, cells in self.shapley.items()},
            "chance": {metric: 100 * value for metric, value in self.chance.items()},
            "vs_best": [
                {"providers": list(names), "difference": _percent(cells)}
                for names, cells in self.vs_best.items()
            ],
            "labels": dict(self.labels),
            "notes": list(self.notes),
            "provenance": None if self.provenance is None else self.provenance.to_json(),
            "heads": list(self.heads),
        }


def incremental(
    stack: SimilarityStack,
    fuser: Fuser,
    *,
    name: str | None = None,
    design: Folds | Train | None = None,
    base: str | None = None,
    metrics: Sequence[str] | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
    labels: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    n_workers: int = 1,
) -> Incremental:
    """Fuse every subset of providers with fresh copies of one fuser, on held-out queries.

    Parameters
    ----------
    name : str, optional
        What tables call the fuser; by default its class.
    design : Folds or Train, default=Folds(5)
    base : str, optional
        Provider that every order starts with; all orders where left out.
    n_workers : int, default=1
        Processes among which the subsets are shared, as for ``compare``.
    stack, metrics, n_resamples, seed, labels, progress
        As ``compare``.

    Raises
    ------
    OptionError
        For more than six providers, or an unknown base.
    DatasetError, AlignmentError, FuserError
        As ``compare``.
    """
    if stack.n_providers > MAX_PROVIDERS:
        raise OptionError(
            f"incremental: expected at most {MAX_PROVIDERS} providers, got {stack.n_providers} "
            f"({2**stack.n_providers} fusions). Choose some with stack.select(names)."
        )
    if base is not None and base not in stack.names:
        raise OptionError(f"incremental: no provider {base!r}{closest(base, stack.names)}")
    notes = tuple(stack.notes())
    stack = stack.measured()
    design = design or Folds()
    parts = design.parts(stack)
    subsets = [s for n in range(stack.n_providers + 1) for s in combinations(stack.names, n)]
    work = partial(_evaluate_subset, fuser=fuser, stack=stack, parts=parts, metrics=metrics)
    evaluations: dict[Names, Evaluation] = {}
    for found in in_workers(work, subsets, n_workers=n_workers):
        evaluations[subsets[len(evaluations)]] = found
        if progress:
            progress("subsets of providers", len(evaluations), len(subsets))
    averaged = shared_metrics(evaluations.values())
    values = {names: with_mean(e, averaged) for names, e in evaluations.items()}
    columns = (*evaluations[()].metrics, MEAN)
    resampler = Resampler(stack.dataset.groups, n_resamples=n_resamples, seed=seed)
    pairs = [(names, name) for names in subsets for name in stack.names if name not in names]
    gains = {pair: values[_joined(*pair)] - values[pair[0]] for pair in pairs}
    joined = {pair: gain for pair, gain in gains.items() if pair[0]}
    names_of = {pair: " + ".join(pair[0]) for pair in joined}
    steps = _differences(joined, names_of, columns, resampler)
    fused = {names: table for names, table in values.items() if names}
    return Incremental(
        protocol=stack.protocol,
        fuser=name or fuser.name,
        base=base,
        n_queries=stack.n_queries,
        n_groups=resampler.n_groups,
        metrics=evaluations[()].metrics,
        subsets=_intervals({n: v for n, v in values.items() if n}, columns, resampler),
        steps={(to, added): Step(added, to, cells) for (to, added), cells in steps.items()},
        shapley=_intervals(_shapley(gains, stack.names), columns, resampler),
        chance=dict(zip(columns, values[()].mean(axis=0).tolist(), strict=True)),
        vs_best=_behind_best(fused, columns, resampler),
        notes=notes,
        labels=dict(labels or {}),
        provenance=Provenance.of(
            stack,
            {name or fuser.name: fuser},
            design=design.key,
            bank=None,
            seed=seed,
            n_resamples=n_resamples,
        ),
        heads=max((e.heads for e in evaluations.values()), key=len),
    )


def pareto(
    result: Incremental, costs: Mapping[str, float], *, metric: str = MEAN
) -> list[tuple[Names, float, float]]:
    """Return (providers, summed cost, value) of the subsets that no cheaper one equals.

    Parameters
    ----------
    costs : mapping of provider to float
        In any unit, e.g. milliseconds per query; cheapest first in the result.
    """
    points = [
        (sum(costs[name] for name in names), cells[metric].value, names)
        for names, cells in result.subsets.items()
        if cells[metric].decided
    ]
    front: list[tuple[Names, float, float]] = []
    for cost, value, names in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][2]:
            front.append((names, cost, value))
    return front


def _evaluate_subset(
    names: Names,
    *,
    fuser: Fuser,
    stack: SimilarityStack,
    parts: Sequence[Part],
    metrics: Sequence[str] | None,
) -> Evaluation:
    """Return what these providers give: chance for none, its own ranking for one, else fused."""
    if not names:
        return evaluate_providers(_constant(stack), metrics=metrics)["chance"]
    subset = stack.select(names)
    if len(names) == 1:
        return evaluate_providers(subset, metrics=metrics)[names[0]]
    selected = [Part(train and train.select(names), test.select(names)) for train, test in parts]
    rule = fuser.as_rule()
    if rule is not None and len(parts) > 1 and not subset.gallery.unknown:
        return tune_and_evaluate({"": rule}, subset, selected, metrics=metrics)[""]
    return fit_and_evaluate(fuser, subset, selected, metrics=metrics)[0]


def _constant(stack: SimilarityStack) -> SimilarityStack:
    zeros = np.broadcast_to(np.float32(0), (stack.n_queries, stack.n_gallery))
    return SimilarityStack.from_matrices({"chance": zeros}, stack.dataset)


def _shapley(
    gains: Mapping[tuple[Names, str], NDArray[np.float64]], names: Names
) -> dict[str, NDArray[np.float64]]:
    """Return per-query Shapley values: each gain weighted by the share of orders it occurs in."""
    total: dict[str, NDArray[np.float64]] = {}
    for (to, added), gain in gains.items():
        share = 1 / (len(names) * comb(len(names) - 1, len(to)))
        total[added] = total.get(added, 0) + share * gain
    return {name: total[name] for name in names}


def _intervals(
    values: Mapping[Any, NDArray[np.float64]], columns: Sequence[str], resampler: Resampler
) -> dict[Any, dict[str, Interval]]:
    """Return mean and interval of each (n_queries, n_columns) array, by key and column."""
    if not values:
        return {}
    flat = np.concatenate(list(values.values()), axis=1)
    low, high = intervals(flat, resampler)
    cells = iter(zip(flat.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True))
    return {key: {column: Interval(*next(cells)) for column in columns} for key in values}


def _differences(
    paired: Mapping[Any, NDArray[np.float64]],
    references: Mapping[Any, str],
    columns: Sequence[str],
    resampler: Resampler,
) -> dict[Any, dict[str, Difference]]:
    """Return what each (n_queries, n_columns) array of differences amounts to, by column; p-values
    are adjusted over all arrays.
    """
    if not paired:
        return {}
    flat = np.concatenate(list(paired.values()), axis=1)
    repeated = [references[key] for key in paired for _ in columns]
    cells = iter(measure_differences(flat, repeated, resampler, asked=[*columns] * len(paired)))
    return {key: {column: next(cells) for column in columns} for key in paired}


def _behind_best(
    values: Mapping[Names, NDArray[np.float64]], columns: Sequence[str], resampler: Resampler
) -> dict[Names, dict[str, Difference]]:
    """Return every set's difference to the best set of each column that another set leads."""
    found: dict[Names, dict[str, Difference]] = {names: {} for names in values}
    for c, column in enumerate(columns):
        means = {names: float(table[:, c].mean()) for names, table in values.items()}
        decided = {names: mean for names, mean in means.items() if not np.isnan(mean)}
        if len(decided) < 2:
            continue
        best = max(decided, key=lambda names: (decided[names], -len(names)))
        others = {n: values[n][:, [c]] - values[best][:, [c]] for n in decided if n != best}
        references = dict.fromkeys(others, " + ".join(best))
        for names, cells in _differences(others, references, [column], resampler).items():
            found[names] |= cells
    return found


def _joined(names: Names, name: str) -> Names:
    return tuple(sorted((*names, name)))


def _percent(
    cells: Mapping[str, Interval] | Mapping[str, Difference],
) -> dict[str, dict[str, Any] | None]:
    """Return values in percent, None where undecided."""
    return {metric: in_percent(cell) for metric, cell in cells.items()}
