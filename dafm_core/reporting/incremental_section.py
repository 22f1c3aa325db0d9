"""The incremental analysis on a page: orders, subsets, Shapley values, quality against cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from dafm_core.comparison.incremental import pareto
from dafm_core.reporting.charts import (
    Line,
    Span,
    interval_chart,
    line_chart,
    redundancy_map,
    scatter_chart,
)
from dafm_core.reporting.page import Section
from dafm_core.reporting.tables import Cell, Json, Table, metric_label, text_cell

if TYPE_CHECKING:
    from dafm_core.comparison.incremental import Incremental

Costs = Mapping[str, Mapping[str, float]]
"""``ms_per_query`` and ``peak_memory_gb`` by provider, as ``SimilarityStore.cost`` has them."""


def incremental_section(
    result: Incremental,
    *,
    costs: Costs | None = None,
    redundancy: Mapping[str, float] | None = None,
) -> Section:
    """Return the section of one incremental analysis.

    Parameters
    ----------
    result : Incremental
    costs : mapping of provider to mapping, optional
        Quality is set against cost where every provider has one.
    redundancy : mapping of "a & b" to float, optional
        Mean rank correlations, as ``audit.redundancy`` has them.
    """
    record = result.to_json()
    shown = _shown_metrics(record["metrics"])
    known = {name: cost for name, cost in (costs or {}).items() if "ms_per_query" in cost}
    complete = known if set(record["shapley"]) <= set(known) else {}
    context = {
        "record": record,
        "base": _base(record, shown[0]),
        "paths": [_paths(record, metric) for metric in shown],
        "words": [record["monotone"][metric] for metric in shown],
        "all_words": list(record["monotone"].values()),
        "shapley": _shapley_chart(record, shown),
        "shapley_table": shapley_table(record),
        "subsets": subset_table(record, complete),
        "redundancy": redundancy_map(redundancy or {}, record["protocol"]),
        "front": _front(result, complete, shown[0]) if complete else None,
    }
    return Section(id="incremental", title="What each model is worth", context=context)


def subset_table(record: Json, costs: Costs) -> Table:
    """Return every subset of providers with its values, and its cost where it is known."""
    metrics = [*record["metrics"], "mean"]
    cost_columns = ("ms per query", "GB") if costs else ()
    rows = []
    for subset in record["subsets"]:
        names = subset["providers"]
        row = [text_cell(" + ".join(names)), Cell(str(len(names)), len(names))]
        row += [_value(subset["metrics"][metric]) for metric in metrics]
        if costs:
            ms = sum(costs[name]["ms_per_query"] for name in names)
            memory = sum(costs[name].get("peak_memory_gb", 0.0) for name in names)
            row += [Cell(f"{ms:.2f}", ms), Cell(f"{memory:.2f}", memory)]
        rows.append(tuple(row))
    return Table(
        caption=f"{record['protocol']}: every subset of models, fused with {record['fuser']}; "
        f"{record['n_queries']} queries in {record['n_groups']} groups, 95 % intervals.",
        columns=("Models", "Number", *map(metric_label, metrics), *cost_columns),
        rows=tuple(rows),
        kinds=("",) * len(rows),
    )


def shapley_table(record: Json) -> Table:
    """Return what each provider adds, averaged over all orders."""
    metrics = [*record["metrics"], "mean"]
    rows = tuple(
        (text_cell(name), *(_value(cells[metric]) for metric in metrics))
        for name, cells in record["shapley"].items()
    )
    return Table(
        caption="Shapley values in points: what a model adds, averaged over all orders, starting "
        "at chance; with 95 % intervals.",
        columns=("Model", *map(metric_label, metrics)),
        rows=rows,
        kinds=("",) * len(rows),
    )


def _shown_metrics(metrics: list[str]) -> list[str]:
    """Return the two metrics of the paper's Fig. 3, or what comes closest."""
    mean = next((m for m in ("rmean", "rmean-fashioniq") if m in metrics), "mean")
    return [mean, "recall@10" if "recall@10" in metrics else metrics[0]]


def _base(record: Json, metric: str) -> str:
    """Return the provider the drawn orders start with: the one asked for, or the best alone."""
    singles = [s for s in record["subsets"] if len(s["providers"]) == 1]
    best = max(singles, key=lambda s: s["metrics"][metric]["value"])
    return str(record["base"] or best["providers"][0])


def _paths(record: Json, metric: str) -> Markup:
    base = _base(record, metric if record["base"] else _shown_metrics(record["metrics"])[0])
    values = {frozenset(s["providers"]): s["metrics"][metric]["value"] for s in record["subsets"]}
    orders = [order for order in record["orders"] if order[0] == base]
    lines = [
        Line(
            name=" → ".join(order[1:]) or base,
            x=range(len(order)),
            y=[values[frozenset(order[: i + 1])] for i in range(len(order))],
        )
        for order in orders
    ]
    label = metric_label(metric)
    return line_chart(
        lines,
        title=f"{label} as models are added to {base}, one line per order",
        x_label="models fused",
        y_label=f"{label}, %",
        x_ticks=[str(i + 1) for i in range(len(orders[0]))],
    )


def _shapley_chart(record: Json, metrics: list[str]) -> Markup:
    spans = [
        Span(label=name, group=metric_label(metric), **cells[metric])
        for metric in metrics
        for name, cells in record["shapley"].items()
    ]
    return interval_chart(spans, title="Shapley value of each model", x_label="points (95 %)")


def _front(result: Incremental, costs: Costs, metric: str) -> Markup:
    ms = {name: cost["ms_per_query"] for name, cost in costs.items()}
    front = {names for names, _, _ in pareto(result, ms, metric=metric)}
    points = [
        (
            " + ".join(names),
            sum(ms[name] for name in names),
            100 * cells[metric].value,
            names in front,
        )
        for names, cells in result.subsets.items()
    ]
    return scatter_chart(
        points,
        title="Quality against cost of every subset of models",
        x_label="milliseconds per query, summed over models",
        y_label=f"{metric_label(metric)}, %",
    )


def _value(cell: Mapping[str, Any]) -> Cell:
    interval = f"[{cell['low']:.2f}, {cell['high']:.2f}]"
    return Cell(f"{cell['value']:.2f}", cell["value"], interval)
