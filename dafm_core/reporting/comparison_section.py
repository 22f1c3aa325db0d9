"""The comparison on a page: decision, results, clear losses, differences, audits."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dafm_core.comparison.decision import Decision, decide
from dafm_core.comparison.families import FamilyAverages, average_families
from dafm_core.comparison.inspection import Cost
from dafm_core.comparison.result import Comparison
from dafm_core.comparison.rows import MEAN, Row
from dafm_core.comparison.tables import (
    best_first,
    comparison_table,
    difference_table,
    families_table,
    losses_table,
)
from dafm_core.comparison.type_table import type_table
from dafm_core.evaluation.query_types import query_types
from dafm_core.reporting.charts import Chart, Span, interval_chart, redundancy_map
from dafm_core.reporting.findings import findings, singles_table
from dafm_core.reporting.page import Section
from dafm_core.tables.cells import Table, in_percent

if TYPE_CHECKING:
    from dafm_core.cases.cases import Cases

_REFERENCES = ("minus best single", "minus best static", "minus best learned")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One comparison as the template shows it; ``forest`` is None where nothing was fused."""

    comparison: Comparison
    table: Table
    losses: Table | None
    forest: Chart | None
    differences: Table
    all_differences: Table
    types: Table | None
    findings: list[str]
    singles: Table
    redundancy: Chart | None


@dataclass(frozen=True, kw_only=True)
class View:
    """What the template shows; ``families`` only where there are several comparisons."""

    decision: Decision
    parts: list[Part]
    families: Table | None
    families_forest: Chart | None
    families_json: object
    type_links: Mapping[str, int]
    type_commands: Mapping[str, str]


def comparison_section(
    comparisons: Sequence[Comparison],
    *,
    costs: Mapping[str, Cost] | None = None,
    stores: Sequence[str] = ("STORE",),
    cases: Cases | None = None,
) -> Section:
    """Return the section of one comparison, or of those of a benchmark's families with averages.

    Parameters
    ----------
    comparisons : sequence of Comparison
    costs : mapping of provider to Cost, optional
        What scoring took.
    stores : sequence of str
        Paths of the stores, for the commands to run next.
    cases : Cases, optional
        Those on the same page, which the query types then lead to.

    Raises
    ------
    OptionError
        If several comparisons are not of the families of one benchmark.
    """
    averages = average_families(comparisons) if len(comparisons) > 1 else None
    decision = (
        decide(averages, costs=costs, stores=stores)
        if averages
        else comparisons[0].decision(costs=costs, stores=stores)
    )
    view = View(
        decision=decision,
        parts=[_part(comparison) for comparison in comparisons],
        families=families_table(averages) if averages else None,
        families_forest=_forest(averages, averages.protocol) if averages else None,
        families_json=averages.to_json() if averages else None,
        type_links=_types_of(cases) if cases is not None else {},
        type_commands={} if cases is not None else _type_commands(comparisons[0], stores[0]),
    )
    names = [c.protocol for c in comparisons] if averages else ["Results"]
    parts = [(f"part-{i}", name) for i, name in enumerate(names, 1)]
    return Section(id="comparison", title="Comparison", view=view, parts=tuple(parts))


def _part(comparison: Comparison) -> Part:
    audits, label = comparison.audits, comparison.label
    rows = best_first(comparison.rows, MEAN)
    return Part(
        comparison=comparison,
        table=comparison_table(comparison),
        losses=losses_table(comparison),
        forest=_forest(comparison, comparison.protocol),
        differences=difference_table(rows, [MEAN], label=label),
        all_differences=difference_table(rows, [*comparison.metrics, MEAN], label=label),
        types=type_table(comparison),
        findings=[*comparison.undecided, *findings(audits, label=label)],
        singles=singles_table(audits, label=label),
        redundancy=redundancy_map(audits.redundancy, comparison.protocol, label=label),
    )


def _types_of(cases: Cases) -> dict[str, int]:
    """Return how many of the cases on the page are of each type that occurs."""
    counts = {n: int(of.sum()) for n, of in query_types(cases.queries["text"].to_list()).items()}
    return {name: count for name, count in counts.items() if count}


def _type_commands(comparison: Comparison, store: str) -> dict[str, str]:
    """Return the command that shows the cases of each type, under what is to be deployed."""
    chosen = comparison.row(comparison.verdict.name) if comparison.verdict.name else None
    fuser = f" --fusers {shlex.quote(chosen.name)}" if chosen and chosen.kind != "single" else ""
    return {
        of_type.name: f"dafm cases {shlex.quote(store)}{fuser} --about {of_type.name} "
        f"--report {of_type.name}.html"
        for of_type in comparison.by_type
    }


def _forest(compared: Comparison | FamilyAverages, protocol: str) -> Chart | None:
    spans = [
        Span(
            label=compared.label(row.name),
            group=group,
            value=in_percent(against[MEAN].value),
            low=in_percent(against[MEAN].low),
            high=in_percent(against[MEAN].high),
            clear=against[MEAN].clear,
        )
        for row in _fused(compared)
        for against, group in zip(row.against, _REFERENCES, strict=True)
        if MEAN in against
    ]
    if not spans:
        return None
    title = f"Differences in the mean of the metrics, {protocol}"
    return interval_chart(spans, title=title, x_label="points (95 % interval)")


def _fused(compared: Comparison | FamilyAverages) -> list[Row]:
    return [row for row in best_first(compared.rows, MEAN) if row.vs_best_single]
