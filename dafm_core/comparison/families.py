"""Comparisons of one benchmark's families taken together: their averages, with one verdict.

FashionIQ is three categories, and what papers report is their average. Each category keeps its own
queries in every resample, and counts the same however many queries it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from dafm_core.comparison.result import Comparison
from dafm_core.comparison.rows import Row, summarise
from dafm_core.comparison.verdict import Verdict, verdict
from dafm_core.datasets.benchmarks import Benchmark
from dafm_core.errors import OptionError
from dafm_core.evaluation.evaluate import Evaluation
from dafm_core.ground.statistics import StratifiedResampler


@dataclass(frozen=True, eq=False)
class FamilyAverages:
    """What ``average_families`` returns.

    Parameters
    ----------
    protocol : str
        With ``*`` for the family.
    families : mapping of str to Comparison
    metrics : tuple of str
        That the benchmark averages.
    mean : str
        The metric whose average is the benchmark's headline; empty where it has none.
    rows : tuple of Row
        As of a comparison, of the averages; ``averaged`` of them decides.
    averaged : tuple of str
    """

    protocol: str
    families: Mapping[str, Comparison] = field(repr=False)
    metrics: tuple[str, ...]
    mean: str
    rows: tuple[Row, ...]
    averaged: tuple[str, ...]

    @property
    def design(self) -> str:
        """How training and held-out queries were separated, in words."""
        return next(iter(self.families.values())).design

    @property
    def n_queries(self) -> int:
        """Queries of all families."""
        return sum(c.n_queries for c in self.families.values())

    @property
    def n_groups(self) -> int:
        """Groups of all families."""
        return sum(c.n_groups for c in self.families.values())

    @cached_property
    def verdict(self) -> Verdict:
        """The one verdict, on the averages."""
        return verdict(self.rows, label=self.label)

    def label(self, name: str) -> str:
        """Return what tables call a row."""
        return next(iter(self.families.values())).label(name)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as of a comparison."""
        return {
            "protocol": self.protocol,
            "families": list(self.families),
            "metrics": list(self.metrics),
            "rows": [row.to_json() for row in self.rows],
            "verdict": asdict(self.verdict),
        }


def average_families(comparisons: Sequence[Comparison]) -> FamilyAverages:
    """Return the averages over families of one benchmark, with intervals and a verdict.

    Raises
    ------
    OptionError
        If the comparisons are not of different families of one protocol, with the same rows and
        the metrics that the benchmark averages.
    """
    benchmark = Benchmark.of(comparisons[0].protocol)
    names = [Benchmark.of(c.protocol).family(c.protocol) for c in comparisons]
    refuse_unlike(comparisons, names)
    metrics = benchmark.family_metrics
    if missing := [m for m in metrics if any(m not in c.metrics for c in comparisons)]:
        raise OptionError(
            f"table of families: expected {' and '.join(metrics)}, the metrics averaged for "
            f"{benchmark.name}, got no {' and '.join(missing)}. Compare with these metrics."
        )
    protocol = benchmark.across_families(comparisons[0].protocol)
    mean = benchmark.family_mean or ""
    shown = (*metrics, *([mean] if mean else []))
    n_queries = sum(c.n_queries for c in comparisons)
    groups, strata = [], []
    for name, comparison in zip(names, comparisons, strict=True):
        groups += [f"{name} {group}" for group in comparison.groups]
        strata += [name] * comparison.n_queries
    first = comparisons[0]
    evaluations = {}
    for row in first.rows:
        values = []
        for comparison in comparisons:
            frame = comparison.evaluations[row.name].frame
            table = frame.select(metrics).to_numpy()
            if mean:
                table = np.column_stack([table, table.mean(axis=1)])
            # each family counts the same: its queries weigh what makes their sum a third of all
            values.append(table * (n_queries / len(comparisons) / len(table)))
        stacked = np.concatenate(values)
        frame = pl.DataFrame({"query_id": [str(i) for i in range(n_queries)], "group": groups})
        frame = frame.with_columns(pl.Series(m, stacked[:, i]) for i, m in enumerate(shown))
        evaluations[row.name] = Evaluation(row.name, protocol, shown, frame)
    resampler = StratifiedResampler(
        groups, strata, n_resamples=first.provenance.n_resamples, seed=first.provenance.seed
    )
    averaged = tuple(m for m in metrics if all(e.undecided[m] == 0 for e in evaluations.values()))
    return FamilyAverages(
        protocol=protocol,
        families=dict(zip(names, comparisons, strict=True)),
        metrics=metrics,
        mean=mean,
        rows=summarise(
            evaluations,
            {row.name: row.kind for row in first.rows},
            resampler,
            averaged=averaged,
            complexity={row.name: row.complexity for row in first.rows},
        ),
        averaged=averaged,
    )


def refuse_unlike(comparisons: Sequence[Comparison], names: Sequence[str]) -> None:
    """Raise OptionError unless these are different families of one protocol, compared alike."""
    across = {Benchmark.of(c.protocol).across_families(c.protocol) for c in comparisons}
    rows = {tuple(row.name for row in c.rows) for c in comparisons}
    if len(across) > 1 or len(rows) > 1 or not all(names) or len({*names}) < len(names):
        raise OptionError(
            "several stores are one table of a benchmark's families, e.g. FashionIQ's categories: "
            "expected different families with one kind of gallery and the same rows, got "
            f"{', '.join(comparison.protocol for comparison in comparisons)}. Compare others one "
            "by one."
        )
