"""The tables of a comparison, cell by cell, ready for any output format.

Nothing is computed here but which cell is best, and averages over the families of one benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dafm_core.comparison.compare import Comparison
from dafm_core.comparison.rows import MEAN, Difference, Row
from dafm_core.datasets.benchmarks import Benchmark
from dafm_core.errors import OptionError
from dafm_core.metrics.spec import each_once, metric_label
from dafm_core.reporting.cells import (
    Cell,
    Mark,
    Table,
    count_cell,
    interval_cell,
    mark_best,
    p_cell,
    percent_cell,
    table,
    text_cell,
)

_DIFFERENCE_COLUMNS: Final = (
    "Method",
    "Minus",
    "Metric",
    "Difference",
    "p",
    "p (Holm)",
    "Better",
    "Same",
    "Worse",
    "Detectable",
)


def comparison_table(comparison: Comparison) -> Table:
    """Return all rows of a comparison by metric, the best marked; the oracle comes last."""
    metrics = (*comparison.metrics, MEAN)

    def line(name: str, row: Row) -> list[Cell]:
        return [text_cell(name), *(interval_cell(row.metrics[metric]) for metric in metrics)]

    rows = mark_best([line(row.name, row) for row in comparison.rows])
    return table(
        describe(comparison),
        ("Method", *map(metric_label, metrics)),
        [*rows, line("oracle of singles", comparison.oracle)],
        kinds=[*(row.kind for row in comparison.rows), "oracle"],
        essential=(metric_label(MEAN),),
    )


def difference_table(rows: Sequence[Row], metrics: Sequence[str]) -> Table:
    """Return the paired differences of fused rows to the best single and the best static one."""
    shown = [
        (row, metric, against[metric])
        for row in rows
        for against in row.against
        for metric in metrics
        if metric in against
    ]
    return table(
        "Paired differences in points with 95 % intervals, groups resampled whole; p by sign flips "
        "of whole groups, Holm over the fused rows of the comparison.",
        _DIFFERENCE_COLUMNS,
        [_difference(row.name, metric, difference) for row, metric, difference in shown],
        kinds=[row.kind for row, _, _ in shown],
    )


def families_table(comparisons: Sequence[Comparison]) -> Table:
    """Return comparisons of the families of one benchmark and their averages in one table: for
    FashionIQ's three categories, Table 3 of the paper.

    Raises
    ------
    OptionError
        If the comparisons are not of different families of one protocol, with the same rows and
        the metrics that the benchmark averages.
    """
    benchmark = Benchmark.of(comparisons[0].protocol)
    metrics, mean = benchmark.family_metrics, benchmark.family_mean
    families = [_Family.of(comparison) for comparison in comparisons]
    first, names = families[0], [family.name for family in families]
    alike = all(f.protocols == first.protocols and f.rows == first.rows for f in families)
    if not (alike and all(names) and len(set(names)) == len(names)):
        raise OptionError(
            "table of families: expected comparisons of different families of one benchmark, e.g. "
            "FashionIQ's categories, with one gallery and the same rows, got "
            f"{', '.join(comparison.protocol for comparison in comparisons)}. Compare alike."
        )
    if missing := [m for m in metrics if any(m not in c.metrics for c in comparisons)]:
        raise OptionError(
            f"table of families: expected {' and '.join(metrics)}, the metrics averaged for "
            f"{benchmark.name}, got no {' and '.join(missing)}. Compare with these metrics."
        )
    lines = []
    for rows in zip(*(comparison.rows for comparison in comparisons), strict=True):
        values = [[row.metrics[metric].value for metric in metrics] for row in rows]
        averages = [sum(column) / len(rows) for column in zip(*values, strict=True)]
        shares = [share for family in (*values, averages) for share in family]
        shares += [sum(averages) / len(averages)] if mean else []
        lines.append([text_cell(rows[0].name), *map(percent_cell, shares)])
    heads = [f"{name} {metric_label(m)}" for name in (*names, "average") for m in metrics]
    last = [metric_label(mean)] if mean else []
    return table(
        "; ".join(map(describe, comparisons)),
        ("Method", *heads, *last),
        mark_best(lines),
        kinds=[row.kind for row in comparisons[0].rows],
        essential=last,
    )


def describe(comparison: Comparison) -> str:
    """Return protocol, counts and design of a comparison, what its mean is, and which score of
    a row with two each metric is of, in one line.
    """
    once = each_once(comparison.metrics)
    return (
        f"{comparison.protocol}: {comparison.n_queries} queries in {comparison.n_groups} groups; "
        f"{comparison.design}. Mean: that of {', '.join(map(metric_label, once))}; oracle: per "
        "query the one single model with the highest mean"
        + "".join(f". {line}" for line in comparison.heads)
    )


@dataclass(frozen=True)
class _Family:
    """What must differ (``name``) and what must not among comparisons that are averaged."""

    name: str
    protocols: str
    rows: tuple[str, ...]

    @classmethod
    def of(cls, comparison: Comparison) -> _Family:
        benchmark = Benchmark.of(comparison.protocol)
        return cls(
            benchmark.family(comparison.protocol),
            benchmark.across_families(comparison.protocol),
            tuple(row.name for row in comparison.rows),
        )


def _difference(name: str, metric: str, difference: Difference) -> tuple[Cell, ...]:
    clear: Mark = "best" if difference.low > 0 or difference.high < 0 else ""
    span = difference.low, difference.high
    return (
        text_cell(name),
        text_cell(difference.reference),
        text_cell(metric_label(metric)),
        percent_cell(difference.value, span, signed=True, mark=clear),
        p_cell(difference.p_value),
        p_cell(difference.p_holm),
        *map(count_cell, (difference.wins, difference.ties, difference.losses)),
        percent_cell(difference.detectable),
    )
