"""The comparison on a page: verdict, results, differences, audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from dafm_core.comparison.compare import Comparison
from dafm_core.comparison.rows import MEAN
from dafm_core.reporting.cells import Table, in_percent
from dafm_core.reporting.charts import Span, interval_chart, redundancy_map
from dafm_core.reporting.findings import findings, singles_table
from dafm_core.reporting.page import Section
from dafm_core.reporting.tables import comparison_table, difference_table, families_table

_ACTIONS: Final = {
    "deploy-learned": "Deploy the learned fusion",
    "deploy-rule": "Deploy a static rule",
    "stay": "Stay with one model",
    "undecided": "No verdict",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One comparison as the template shows it; ``forest`` is None where nothing was fused."""

    comparison: Comparison
    action: str
    table: Table
    forest: Markup | None
    differences: Table
    all_differences: Table
    findings: list[str]
    singles: Table
    redundancy: Markup | None


@dataclass(frozen=True, kw_only=True)
class View:
    """What the template shows; ``families`` only where there are several comparisons."""

    parts: list[Part]
    families: Table | None


def comparison_section(comparisons: Sequence[Comparison]) -> Section:
    """Return the section of one comparison, or of those of a benchmark's families with averages.

    Raises
    ------
    OptionError
        If several comparisons are not of the families of one benchmark.
    """
    view = View(
        parts=[_part(comparison) for comparison in comparisons],
        families=families_table(comparisons) if len(comparisons) > 1 else None,
    )
    return Section(id="comparison", title="Comparison", view=view)


def _part(comparison: Comparison) -> Part:
    verdict, audits, rows = comparison.verdict, comparison.audits, comparison.rows
    return Part(
        comparison=comparison,
        action=_ACTIONS[verdict.action] + (f": {verdict.name}" if verdict.name else ""),
        table=comparison_table(comparison),
        forest=_forest(comparison),
        differences=difference_table(rows, [MEAN]),
        all_differences=difference_table(rows, [*comparison.metrics, MEAN]),
        findings=[*comparison.undecided, *findings(audits)],
        singles=singles_table(audits),
        redundancy=redundancy_map(audits.redundancy, comparison.protocol),
    )


def _forest(comparison: Comparison) -> Markup | None:
    groups = ("minus best single", "minus best static", "minus best learned")
    spans = [
        Span(
            label=row.name,
            group=group,
            value=in_percent(against[MEAN].value),
            low=in_percent(against[MEAN].low),
            high=in_percent(against[MEAN].high),
        )
        for row in comparison.rows
        for against, group in zip(row.against, groups, strict=True)
        if MEAN in against
    ]
    if not spans:
        return None
    title = f"Differences in the mean of the metrics, {comparison.protocol}"
    return interval_chart(spans, title=title, x_label="points (95 % interval)")
