"""Whether the order of the gallery file gives the targets away, and whether a fusion uses it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from dafm_core.evaluation.evaluate import Evaluation
from dafm_core.ground.ragged import Ragged
from dafm_core.metrics.spec import metric_label

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset

ADJACENCY_RATIO: Final = 3.0
"""Adjacent this many times more often than by chance, the order of the file is called telling."""


@dataclass(frozen=True)
class Order:
    """Whether the order of the gallery file tells where the target is.

    Parameters
    ----------
    adjacent, chance : float
        Share of queries whose target stands next to their reference or a member of their subset,
        and the share expected in a random order.
    changes : mapping of fuser to mapping of metric to float
        Score in the given order minus score with the gallery shuffled; 0 for a fuser that does not
        look at the order.
    """

    adjacent: float
    chance: float
    changes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def is_telling(self) -> bool:
        """Whether neighbours in the file are far more often related than by chance."""
        return self.adjacent > ADJACENCY_RATIO * self.chance and self.adjacent > 0.01

    @property
    def words(self) -> str:
        """The finding in one or two sentences."""
        place = (
            f"the target stands next to its reference or subset in {100 * self.adjacent:.1f} % of "
            f"queries (chance {100 * self.chance:.1f} %)"
        )
        lines = [
            f"Gallery order tells: {place}; a filter along the file would cheat."
            if self.is_telling
            else f"Gallery order does not tell: {place}."
        ]
        for name, change in self.changes.items():
            if not change:
                continue
            metric, value = max(change.items(), key=lambda item: abs(item[1]))
            lines.append(
                f"{name} depends on the order: {100 * value:+.2f} points of "
                f"{metric_label(metric)} vanish when the gallery is shuffled."
                if abs(value) > 1e-4
                else f"{name} does not depend on the order: shuffling the gallery changes nothing."
            )
        return " ".join(lines)


def gallery_order(dataset: Dataset) -> Order:
    """Return how often targets stand next to related images in the order of the gallery file."""
    related, targets = _related(dataset), dataset.targets
    asked = np.flatnonzero((targets.counts > 0) & (related.counts > 0))
    if not len(asked):
        return Order(0.0, 0.0)
    others, first = related.take(asked), targets.values[targets.offsets[asked]]
    adjacent = others.holds(first - 1) | others.holds(first + 1)
    counts, n_queries = np.unique(others.counts, return_counts=True)
    chance = [_chance_adjacent(dataset.n_gallery, m) for m in counts.tolist()]
    return Order(float(adjacent.mean()), float(np.average(chance, weights=n_queries)))


def order_changes(given: Evaluation, shuffled: Evaluation) -> dict[str, float]:
    """Return each decided metric in the gallery's given order minus the same in a shuffled one."""
    changes = {metric: value - shuffled.values[metric] for metric, value in given.values.items()}
    return {metric: change for metric, change in changes.items() if not math.isnan(change)}


def _related(dataset: Dataset) -> Ragged:
    """Return, for each query, the columns of its reference and subset without its targets."""
    named = dataset.columns("subset").union(dataset.columns("references"))
    return named.without(dataset.targets)


def _chance_adjacent(n: int, m: int) -> float:
    """Return the probability that one of m other places of n is next to a random place.

    Examples
    --------
    Queries with one related image, in a gallery of three, four and five. Of four places the two in
    the middle have two neighbours among three others, the two at the ends have one: (2 * 2/3 +
    2 * 1/3) / 4.

    >>> [round(_chance_adjacent(n, 1), 3) for n in (3, 4, 5)]
    [0.667, 0.5, 0.4]
    >>> _chance_adjacent(4, 0), _chance_adjacent(4, 3)  # nothing to stand next to; nothing else
    (0.0, 1.0)
    """
    if n < 2 or m >= n - 1:
        return float(n > 1)
    # Counted by what is missed: of n - 1 other places, m are related. A place inside has two
    # neighbours, and misses with both; drawn one after the other, they are not independent.
    inside = 1 - (n - 1 - m) * (n - 2 - m) / max(1, (n - 1) * (n - 2))
    at_end = m / (n - 1)
    return ((n - 2) * inside + 2 * at_end) / n
