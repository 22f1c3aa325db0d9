"""Metrics by name: ``recall@10`` on a command line or in a dataset becomes something to compute,
and ``R@10`` where people read it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dafm_core.errors import OptionError, closest
from dafm_core.metrics import functional
from dafm_core.metrics.functional import PerQuery
from dafm_core.metrics.ranking import TargetRanks

_AT_K: Final[dict[str, Callable[..., PerQuery]]] = {
    "recall": functional.recall,
    "rsubset": functional.recall,
    "hit": functional.hit,
    "map": functional.average_precision,
}
_MEANS: Final[dict[str, tuple[str, ...]]] = {
    "rmean": ("recall@5", "rsubset@1"),
    "rmean-fashioniq": ("recall@10", "recall@50"),
}
_LABELS: Final = {
    "recall": "R",
    "rsubset": "Rs",
    "hit": "Hit",
    "map": "mAP",
    "rmean": "Rmean",
    "rmean-fashioniq": "Rmean",
    "mean": "Mean",
    "mrr": "MRR",
}
"""What tables and sentences call a family or a metric; ``mean`` is that of a table's metrics."""
_FAMILIES: Final = {_LABELS[family].lower(): family for family in _AT_K}
EXAMPLES: Final = (
    *(f"{family}@{k}" for family in ("recall", "hit", "map") for k in (1, 5, 10, 25, 50)),
    *(f"rsubset@{k}" for k in (1, 2, 3)),
    "mrr",
    *_MEANS,
)
"""Names to suggest from; any K is valid."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A per-query metric with its name.

    Parameters
    ----------
    name : str
        ``recall@K``, ``rsubset@K``, ``hit@K``, ``map@K``, ``mrr``, ``rmean`` (CIRR: the mean of
        recall@5 and rsubset@1) or ``rmean-fashioniq`` (the mean of recall@10 and recall@50; the
        mean over the three categories is FashionIQ's Rmean).
    needs_subset : bool
        Whether it ranks the query's subset.
    """

    name: str
    needs_subset: bool
    compute: Callable[[TargetRanks, TargetRanks | None], PerQuery]

    def __call__(self, ranks: TargetRanks, subset_ranks: TargetRanks | None = None) -> PerQuery:
        """Return one value per query, in [0, 1], shape (n_queries,)."""
        return self.compute(ranks, subset_ranks)


def parse_metric(name: str) -> Metric:
    """Return the metric called ``name``, written in full or as tables print it.

    ``Rmean`` is CIRR's; FashionIQ's has to be written ``rmean-fashioniq``, because tables of both
    benchmarks print ``Rmean``.

    Raises
    ------
    OptionError
        If there is none; the message offers the closest.

    Examples
    --------
    >>> [parse_metric(name).name for name in ("Recall@10", "R@10", "Rs@1")]
    ['recall@10', 'recall@10', 'rsubset@1']
    """
    name = name.strip().lower()
    if name in _MEANS:
        return _mean_of(name, [parse_metric(part) for part in _MEANS[name]])
    if name == "mrr":
        return Metric(
            name=name, needs_subset=False, compute=lambda r, _: functional.reciprocal_rank(r)
        )
    family, _, depth = name.partition("@")
    family = _FAMILIES.get(family, family)
    if family not in _AT_K or not depth.isdecimal() or int(depth) < 1:
        raise OptionError(f"metrics: unknown metric {name!r}{closest(name, EXAMPLES)}")
    compute, k = _AT_K[family], int(depth)
    name = f"{family}@{k}"
    if family == "rsubset":
        return Metric(name=name, needs_subset=True, compute=lambda _, s: compute(s, k=k))
    return Metric(name=name, needs_subset=False, compute=lambda r, _: compute(r, k=k))


def metric_label(name: str) -> str:
    """Return a metric's name as tables and sentences show it.

    Examples
    --------
    >>> [metric_label(name) for name in ("recall@10", "rsubset@1", "rmean")]
    ['R@10', 'Rs@1', 'Rmean']
    """
    family, at, depth = name.partition("@")
    return f"{_LABELS.get(family, family)}{at}{depth}"


def parse_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """Return the metrics in the order named, each once.

    Raises
    ------
    OptionError
        If a name is unknown, or there is none.
    """
    if not names:
        raise OptionError("metrics: expected at least one, got none. Try recall@10.")
    return tuple({metric.name: metric for metric in map(parse_metric, names)}.values())


def _mean_of(name: str, parts: list[Metric]) -> Metric:
    def compute(ranks: TargetRanks, subset_ranks: TargetRanks | None) -> PerQuery:
        total: PerQuery = np.sum([part(ranks, subset_ranks) for part in parts], axis=0)
        return total / len(parts)

    return Metric(name=name, needs_subset=any(p.needs_subset for p in parts), compute=compute)
