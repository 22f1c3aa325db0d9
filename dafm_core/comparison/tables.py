"""The tables of a comparison, cell by cell, ready for any output format.

Nothing is computed here: which cell is the best, and which differences are clear, is read off the
rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dafm_core.comparison.rows import MEAN, Difference, Row
from dafm_core.metrics.families import Head
from dafm_core.metrics.spec import (
    definitions,
    each_once,
    head_words,
    metric_label,
    parse_metric,
)
from dafm_core.tables.cells import (
    Cell,
    Column,
    Sign,
    Table,
    count_cell,
    interval_cell,
    mark_best,
    p_cell,
    percent_cell,
    table,
    text_cell,
)

if TYPE_CHECKING:
    from dafm_core.comparison.families import FamilyAverages
    from dafm_core.comparison.result import Comparison

_DIFFERENCE_COLUMNS: Final = (
    "Method",
    "Minus",
    "Metric",
    Column("Difference", essential=True),
    "p",
    Column("p (Holm)", essential=True),
    "Better",
    "Same",
    "Worse",
    "Detectable",
)
_HOW: Final = (
    "In percent, with 95 % intervals that resample whole groups of queries. The oracle takes for "
    "each query the single model with the highest mean; no fusion is in it."
)
_KINDS: Final = ("single", "static", "learned")


def comparison_table(comparison: Comparison, *, deltas: bool = False) -> Table:
    """Return all rows of a comparison by metric; the oracle comes last.

    Parameters
    ----------
    comparison : Comparison
    deltas : bool, default=False
        Put the differences of one fused row to the best single model and the best static rule below
        it, as papers do: of the row to deploy, or of the best one.
    """
    metrics = (*comparison.metrics, MEAN)
    heads = heads_of(comparison.rows)
    ordered = best_first(comparison.rows, MEAN)
    lines = marked_lines(ordered, metrics, comparison.label)
    kinds: list[str] = [row.kind for row in ordered]
    if deltas and (chosen := _shown_deltas(ordered, comparison.verdict.name)):
        place = ordered.index(chosen) + 1
        added = _delta_lines(chosen, metrics)
        lines[place:place] = added
        kinds[place:place] = ["delta"] * len(added)
    oracle = comparison.oracle
    lines.append(_line("oracle of singles", oracle, metrics))
    return table(
        describe(comparison),
        ["Method", *(metric_column(metric, heads) for metric in metrics)],
        lines,
        kinds=[*kinds, "oracle"],
        notes=[
            ". ".join([*definitions(comparison.metrics), _mean_words(comparison.averaged)]) + ".",
            _HOW,
        ],
    )


def families_table(averages: FamilyAverages) -> Table:
    """Return the averages over the families of one benchmark, then each family: for FashionIQ's
    three categories, Table 3 of the paper.
    """
    metrics, mean = averages.metrics, averages.mean
    label = averages.label
    names = [*averages.families]
    ordered = best_first(averages.rows, MEAN)
    shown = (*metrics, *([mean] if mean else []))
    lines = []
    for row in ordered:
        cells = marked_lines([row], shown, label)[0][1:]
        for name in names:
            of_family = averages.families[name].row(row.name)
            cells += [percent_cell(of_family.metrics[metric].value) for metric in metrics]
        lines.append([text_cell(label(row.name)), *cells])
    marked = mark_best([line[len(shown) :] for line in lines])
    n_shown = 1 + len(shown)
    columns = [
        Column(f"average {metric_label(m)}", metric_label(m), "average", essential=m == mean)
        for m in shown
    ]
    columns += [
        Column(f"{name} {metric_label(m)}", metric_label(m), name)
        for name in names
        for m in metrics
    ]
    return table(
        f"{averages.protocol}: averages over {', '.join(names)} with 95 % intervals, then each; "
        f"{averages.n_queries} queries in {averages.n_groups} groups; {averages.design}",
        ["Method", *columns],
        [[*line[:n_shown], *family[1:]] for line, family in zip(lines, marked, strict=True)],
        kinds=[row.kind for row in ordered],
        notes=[". ".join([*definitions(metrics), "In percent; each family counts the same"]) + "."],
    )


def difference_table(
    rows: Sequence[Row], metrics: Sequence[str], *, label: Callable[[str], str] = str
) -> Table:
    """Return the paired differences of fused rows to the best row of each kind."""
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
        [_difference(row, metric, difference, label) for row, metric, difference in shown],
        kinds=[row.kind for row, _, _ in shown],
    )


def losses_table(comparison: Comparison) -> Table | None:
    """Return where fused rows are clearly behind the best single model; None where none is."""
    shown = [
        (row, metric, difference)
        for row in best_first(comparison.rows, MEAN)
        for metric, difference in row.vs_best_single.items()
        if difference.loses
    ]
    if not shown:
        return None
    return table(
        "Clear losses: where a fusion is behind the best single model, in points.",
        _DIFFERENCE_COLUMNS,
        [_difference(row, metric, lost, comparison.label) for row, metric, lost in shown],
        kinds=[row.kind for row, _, _ in shown],
    )


def describe(comparison: Comparison) -> str:
    """Return protocol, counts and design of a comparison, and which rows have two scores, in one
    line.
    """
    counts = f"{comparison.n_queries} queries in {comparison.n_groups} groups"
    two = [comparison.label(row.name) for row in comparison.rows if len(row.heads) > 1]
    heads = f" Two heads: {', '.join(two)}; any other row has one score for both." if two else ""
    return f"{comparison.protocol}: {counts}; {comparison.design}.{heads}"


def heads_of(rows: Sequence[Row]) -> tuple[Head, ...]:
    """Return the heads that the columns of a table of these rows are of: two where any has two."""
    return max((row.heads for row in rows), key=len)


def metric_name(metric: str, heads: Sequence[Head]) -> str:
    """Return what a metric is called where it stands alone, with its head where there are two."""
    head = head_words(metric, heads)
    return f"{metric_label(metric)} ({head})" if head else metric_label(metric)


def mean_words(heads: Sequence[Head]) -> str:
    """Return what a table of the mean alone says that it is, with its heads where there are two."""
    head = head_words(MEAN, heads)
    return f"mean of the metrics ({head})" if head else "mean of the metrics"


def metric_column(metric: str, heads: Sequence[Head]) -> Column:
    """Return the head of a column: the metric, grouped by which candidates it ranks, and by which
    score where there are two.
    """
    name, title, essential = metric_name(metric, heads), metric_label(metric), metric == MEAN
    head = head_words(metric, heads)
    if metric == MEAN or parse_metric(metric).mean_of:
        return Column(name, title, head, essential=essential)
    in_subset = "subset" in parse_metric(metric).needs
    ranked = "Within the subset" if in_subset else "Whole gallery"
    return Column(name, title, head or ranked)


def best_first(rows: Sequence[Row], metric: str) -> list[Row]:
    """Return rows by kind, within a kind the best first and what is undecided last."""

    def place(row: Row) -> tuple[int, bool, float]:
        cell = row.metrics[metric]
        kind = _KINDS.index(row.kind) if row.kind in _KINDS else len(_KINDS)
        return kind, not cell.decided, -cell.value if cell.decided else 0.0

    return sorted(rows, key=place)


def _mean_words(averaged: Sequence[str]) -> str:
    names = ", ".join(map(metric_label, each_once(averaged)))
    return f"Mean: that of {names}, each counted once"


def marked_lines(
    rows: Sequence[Row], metrics: Sequence[str], label: Callable[[str], str]
) -> list[list[Cell]]:
    """Return a line of cells for each row, with marks and signs."""
    lines = mark_best([_line(label(row.name), row, metrics) for row in rows])
    return [
        [line[0], *(_marked(c, row, m) for c, m in zip(line[1:], metrics, strict=True))]
        for line, row in zip(lines, rows, strict=True)
    ]


def _line(name: str, row: Row, metrics: Sequence[str]) -> list[Cell]:
    return [text_cell(name), *(interval_cell(row.metrics[metric]) for metric in metrics)]


def _marked(cell: Cell, row: Row, metric: str) -> Cell:
    """Return a cell with what the one rule says of it."""
    signs: list[Sign] = []
    single, static = row.vs_best_single.get(metric), row.vs_best_static.get(metric)
    if single and single.gains:
        signs.append("†")
    if static and static.gains:
        signs.append("‡")
    if single and single.loses:
        signs.append("↓")
    behind = row.vs_best.get(metric)
    if behind is None or cell.mark == "best":
        return replace(cell, signs=tuple(signs))
    return replace(cell, signs=tuple(signs), mark="" if behind.clear else "tied")


def _shown_deltas(rows: Sequence[Row], deployed: str) -> Row | None:
    fused = [row for row in rows if row.kind in ("static", "learned")]
    best = max(fused, key=lambda row: (row.kind, row.metrics[MEAN].value), default=None)
    return next((row for row in fused if row.name == deployed), best)


def _delta_lines(row: Row, metrics: Sequence[str]) -> list[list[Cell]]:
    """Return what a row gains on the best single model and the best static rule of each column."""

    def cell(difference: Difference | None) -> Cell:
        if difference is None:
            return Cell("", 0.0)
        return _difference_cell(difference)

    names = {"Δ to best single": row.vs_best_single, "Δ to best static": row.vs_best_static}
    if row.kind == "static":
        names.pop("Δ to best static")
    return [
        [text_cell(name), *(cell(against.get(metric)) for metric in metrics)]
        for name, against in names.items()
        if against
    ]


def _difference_cell(difference: Difference) -> Cell:
    span = difference.low, difference.high
    return percent_cell(
        difference.value, span, signed=True, mark="clear" if difference.clear else ""
    )


def _difference(
    row: Row, metric: str, difference: Difference, label: Callable[[str], str]
) -> tuple[Cell, ...]:
    return (
        text_cell(label(row.name)),
        text_cell(label(difference.reference)),
        text_cell(metric_name(metric, row.heads)),
        _difference_cell(difference),
        p_cell(difference.p_value),
        p_cell(difference.p_holm),
        *map(count_cell, (difference.wins, difference.ties, difference.losses)),
        percent_cell(difference.detectable),
    )
