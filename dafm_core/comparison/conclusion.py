"""Which models to run: the fewest that nothing clearly beats, and what each other one would add.

Read off an incremental analysis by the one rule of ``Difference.clear``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dafm_core.comparison.rows import MEAN, Difference, in_percent
from dafm_core.comparison.subset_values import Incremental, Names
from dafm_core.metrics.spec import metric_label


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What an incremental analysis says to do.

    Parameters
    ----------
    metric : str
        What was decided by.
    use : tuple of str
        The fewest providers that no other set is clearly ahead of; of several such sets the best.
    best : tuple of str
        The set with the highest value.
    behind : Difference or None
        ``use`` minus ``best``; None where they are the same.
    adding : mapping of str to Difference
        What each provider that is left out adds to ``use``.
    words : tuple of str
        The same in sentences, with costs where they are known.
    """

    metric: str
    use: Names
    best: Names
    behind: Difference | None
    adding: Mapping[str, Difference]
    words: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, shares in percent."""
        return {
            "metric": self.metric,
            "use": list(self.use),
            "best": list(self.best),
            "behind": self.behind and in_percent(self.behind),
            "adding": {name: in_percent(cell) for name, cell in self.adding.items()},
            "words": list(self.words),
        }


def conclude(
    result: Incremental, *, metric: str = MEAN, costs: Mapping[str, float] | None = None
) -> Conclusion | None:
    """Return what to run; None where shortlists leave the metric undecided for every set.

    Parameters
    ----------
    result : Incremental
    metric : str, default="mean"
    costs : mapping of provider to float, optional
        Milliseconds per query.
    """
    decided = {n: cells[metric] for n, cells in result.subsets.items() if cells[metric].decided}
    if not decided:
        return None
    best = max(decided, key=lambda names: (decided[names].value, -len(names)))
    tied = [n for n in decided if n == best or not result.vs_best[n][metric].loses]
    use = min(tied, key=lambda names: (len(names), -decided[names].value))
    behind = None if use == best else result.vs_best[use][metric]
    steps = [s for s in result.steps.values() if s.to == use and s.change[metric].decided]
    adding = {step.added: step.change[metric] for step in steps}
    first = f"Use {_and(result, use)}: {metric_label(metric)} {_value(result, use, metric)}"
    if behind is None:
        first += ", the highest of every set of models"
    else:
        first += f", not clearly behind the highest, {_and(result, best)} ({behind.numbers})"
    words = [first + _cost(use, costs) + "."]
    words += [
        f"Adding {result.label(name)} {_verb(change)} ({change.numbers})"
        f"{_cost((name,), costs, 'and costs')}."
        for name, change in adding.items()
    ]
    everyone = result.everyone
    if everyone not in (use, best) and everyone in decided:
        words.append(
            f"All {len(everyone)} reach {_value(result, everyone, metric)}{_cost(everyone, costs)}."
        )
    return Conclusion(
        metric=metric, use=use, best=best, behind=behind, adding=adding, words=tuple(words)
    )


def _verb(change: Difference) -> str:
    if change.gains:
        return "gains something, but not enough for a set to be clearly ahead"
    return "clearly loses" if change.loses else "gains nothing that is clear"


def _value(result: Incremental, names: Names, metric: str) -> str:
    cell = result.subsets[names][metric]
    return f"{100 * cell.value:.2f} [{100 * cell.low:.2f}, {100 * cell.high:.2f}]"


def _and(result: Incremental, names: Names) -> str:
    shown = [result.label(name) for name in names]
    if len(shown) == 1:
        return f"{shown[0]} alone"
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _cost(names: Names, costs: Mapping[str, float] | None, verb: str = "at") -> str:
    if not costs or not costs.keys() >= {*names}:
        return ""
    return f", {verb} {sum(costs[name] for name in names):.1f} ms a query"
