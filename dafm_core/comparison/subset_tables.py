"""The tables of an incremental analysis: every set of models, what each is worth, clear losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from dafm_core.comparison.inspection import Cost
from dafm_core.comparison.rows import MEAN, Difference
from dafm_core.comparison.subset_values import Incremental, Names
from dafm_core.comparison.tables import mean_words, metric_column, metric_name
from dafm_core.metrics.spec import definitions
from dafm_core.tables.cells import (
    Cell,
    Column,
    Table,
    count_cell,
    interval_cell,
    mark_best,
    number_cell,
    p_cell,
    percent_cell,
    table,
    text_cell,
)

Costs: TypeAlias = Mapping[str, Cost]
"""What scoring took, by provider."""
_SHAPLEY: Final = (
    "A Shapley value is what a model adds, averaged over all orders, and these start at chance: it "
    "is far above zero for any model that works, and says how much it is worth and not whether it "
    "is needed. That is what it adds to the others."
)


def known_milliseconds(result: Incremental, costs: Costs) -> dict[str, float]:
    """Return each provider's time per query; nothing unless it is known for every one."""
    known = {
        name: cost.ms_per_query for name, cost in costs.items() if cost.ms_per_query is not None
    }
    return known if known.keys() >= result.shapley.keys() else {}


def subset_table(result: Incremental, costs: Costs) -> Table:
    """Return every set of providers with its values, and its cost where all are known.

    Sets of as many models stand together, the best first.
    """
    metrics = (*result.metrics, MEAN)
    milliseconds = known_milliseconds(result, costs)

    def line(names: Names) -> list[Cell]:
        cells = [text_cell(result.joined(names))]
        return cells + [interval_cell(result.subsets[names][metric]) for metric in metrics]

    ordered = sorted(result.subsets, key=lambda names: (len(names), -_order(result, names)))
    marked = mark_best([line(names) for names in ordered])
    lines = []
    for names, cells in zip(ordered, marked, strict=True):
        shown = [cells[0], count_cell(len(names))]
        shown += [
            _tied(cell, result.vs_best.get(names, {}).get(metric))
            for cell, metric in zip(cells[1:], metrics, strict=True)
        ]
        if milliseconds:
            shown.append(number_cell(sum(milliseconds[name] for name in names)))
            shown.append(number_cell(sum(costs[name].peak_memory_gb or 0.0 for name in names)))
        lines.append(shown)
    return table(
        f"{result.protocol}: every set of models, fused with {result.fuser}; "
        f"{result.n_queries} queries in {result.n_groups} groups, 95 % intervals.",
        [
            "Models",
            "Number",
            *(metric_column(metric, result.heads) for metric in metrics),
            *(("ms per query", "GB") if milliseconds else ()),
        ],
        lines,
        kinds=[str(len(names)) for names in ordered],
        notes=[". ".join(definitions(result.metrics)) + "."],
    )


def worth_table(result: Incremental, costs: Costs) -> Table:
    """Return what each provider reaches alone, adds to all the others, and is worth on average."""
    milliseconds = known_milliseconds(result, costs)
    last = result.added_last
    lines = []
    for name, worth in result.shapley.items():
        added = last[name].change[MEAN] if name in last else None
        cells = [text_cell(result.label(name)), interval_cell(result.subsets[name,][MEAN])]
        cells += [_difference_cell(added), p_cell(added.p_holm)] if added else []
        cells.append(percent_cell(worth[MEAN].value, (worth[MEAN].low, worth[MEAN].high)))
        if milliseconds:
            cells.append(number_cell(milliseconds[name]))
        lines.append(cells)
    added_columns: list[Column | str] = (
        [Column("Added to the others", essential=True), "p (Holm)"] if last else []
    )
    return table(
        f"What each model is worth on the {mean_words(result.heads)}, in points: alone, added last "
        "to all the others, and its Shapley value.",
        [
            "Model",
            "Alone",
            *added_columns,
            "Shapley value",
            *(["ms per query"] if milliseconds else []),
        ],
        lines,
        notes=(_SHAPLEY,),
    )


def shapley_table(result: Incremental) -> Table:
    """Return what each provider adds, averaged over all orders."""
    metrics = (*result.metrics, MEAN)
    return table(
        "Shapley values in points: what a model adds, averaged over all orders, starting "
        "at chance; with 95 % intervals.",
        ("Model", *(metric_column(metric, result.heads) for metric in metrics)),
        [
            (text_cell(result.label(name)), *(interval_cell(cells[m]) for m in metrics))
            for name, cells in result.shapley.items()
        ],
    )


def falls_table(result: Incremental) -> Table | None:
    """Return every step of any order on which a metric falls clearly, the worst first; None where
    there is none.
    """
    reached = {(s.to, s.added): s for order in result.orders for s in result.path(order)}
    falls = [
        (step, metric, step.change[metric])
        for step in reached.values()
        for metric in (*result.metrics, MEAN)
        if step.change[metric].loses
    ]
    if not falls:
        return None
    falls.sort(key=lambda fall: fall[2].value)
    return table(
        "Clear losses: every model whose joining clearly lowers a metric, in points, the worst "
        "first.",
        ("Joining", "The models", "Metric", "Change", "p (Holm)"),
        [
            (
                text_cell(result.label(step.added)),
                text_cell(result.joined(step.to)),
                text_cell(metric_name(metric, result.heads)),
                _difference_cell(change),
                p_cell(change.p_holm),
            )
            for step, metric, change in falls
        ],
        essential=("Change",),
    )


def monotone_words(result: Incremental) -> list[str]:
    """Return which score each metric is of, where there are two, and a sentence for each metric:
    whether adding models ever lowers it.
    """
    if len(result.everyone) == 1:
        return [*result.head_words, "There is one model: nothing can be added to it."]
    sentences = [result.monotone(metric) for metric in (*result.metrics, MEAN)]
    return [*result.head_words, *sentences]


def _order(result: Incremental, names: Sequence[str]) -> float:
    cell = result.subsets[tuple(names)][MEAN]
    return cell.value if cell.decided else -1.0


def _tied(cell: Cell, behind: Difference | None) -> Cell:
    if cell.mark == "best" or behind is None or behind.clear:
        return cell
    return replace(cell, mark="tied")


def _difference_cell(change: Difference) -> Cell:
    span = change.low, change.high
    return percent_cell(change.value, span, signed=True, mark="clear" if change.clear else "")
