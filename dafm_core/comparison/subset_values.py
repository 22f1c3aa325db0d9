"""What ``incremental`` returns: the value of every subset and step, as sentences and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, TypeAlias

from dafm_core.comparison.provenance import Provenance
from dafm_core.comparison.rows import MEAN, Difference, Interval, in_percent
from dafm_core.metrics.families import Head
from dafm_core.metrics.spec import heads_words, metric_label

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
        how_often = "one step" if len(falling) == 1 else f"{len(falling)} steps"
        return f"{label} falls clearly at {how_often} (worst: {where}{change.numbers})."

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


def _percent(
    cells: Mapping[str, Interval] | Mapping[str, Difference],
) -> dict[str, dict[str, Any] | None]:
    """Return values in percent, None where undecided."""
    return {metric: in_percent(cell) for metric, cell in cells.items()}
