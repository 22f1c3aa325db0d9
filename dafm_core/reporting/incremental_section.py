"""The incremental analysis on a page: orders, subsets, Shapley values, quality against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dafm_core.comparison.incremental import Incremental, Names, pareto
from dafm_core.comparison.inspection import Cost
from dafm_core.comparison.rows import MEAN
from dafm_core.metrics.spec import metric_label
from dafm_core.reporting.charts import (
    Chart,
    Line,
    Span,
    interval_chart,
    line_chart,
    redundancy_map,
    scatter_chart,
)
from dafm_core.reporting.page import Section
from dafm_core.tables.cells import (
    Cell,
    Table,
    count_cell,
    in_percent,
    interval_cell,
    number_cell,
    table,
    text_cell,
)

Costs: TypeAlias = Mapping[str, Cost]
"""What scoring took, by provider."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What the template shows; ``front`` is None where a cost is missing."""

    result: Incremental
    base: str
    paths: list[Chart]
    words: list[str]
    all_words: list[str]
    shapley: Chart | None
    shapley_table: Table
    subsets: Table
    redundancy: Chart | None
    front: Chart | None


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
    costs : mapping of provider to Cost, optional
        Quality is set against cost where every provider's time is known.
    redundancy : mapping of "a & b" to float, optional
        Mean rank correlations, as ``audit.redundancy`` has them.
    """
    shown = _shown_metrics(result)
    milliseconds = _milliseconds(result, costs or {})
    view = View(
        result=result,
        base=_base(result, shown[0]),
        paths=[_paths(result, metric) for metric in shown],
        words=[result.monotone(metric) for metric in shown],
        all_words=monotone_words(result),
        shapley=_shapley_chart(result, shown),
        shapley_table=shapley_table(result),
        subsets=subset_table(result, costs or {}),
        redundancy=redundancy_map(redundancy or {}, result.protocol),
        front=_front(result, milliseconds, shown[0]) if milliseconds else None,
    )
    return Section(id="incremental", title="What each model is worth", view=view)


def monotone_words(result: Incremental) -> list[str]:
    """Return which score each metric is of, where there are two, and a sentence for each metric:
    whether adding models ever lowers it.
    """
    sentences = [result.monotone(metric) for metric in (*result.metrics, MEAN)]
    return [*result.head_words, *sentences]


def subset_table(result: Incremental, costs: Costs) -> Table:
    """Return every subset of providers with its values, and its cost where all are known."""
    metrics = (*result.metrics, MEAN)
    milliseconds = _milliseconds(result, costs)

    def line(names: Names) -> list[Cell]:
        cells = [text_cell(" + ".join(names)), count_cell(len(names))]
        cells += [interval_cell(result.subsets[names][metric]) for metric in metrics]
        if milliseconds:
            cells.append(number_cell(sum(milliseconds[name] for name in names)))
            cells.append(number_cell(sum(costs[name].peak_memory_gb or 0.0 for name in names)))
        return cells

    return table(
        f"{result.protocol}: every subset of models, fused with {result.fuser}; "
        f"{result.n_queries} queries in {result.n_groups} groups, 95 % intervals.",
        ("Models", "Number", *map(metric_label, metrics))
        + (("ms per query", "GB") if milliseconds else ()),
        map(line, result.subsets),
        essential=(metric_label(MEAN),),
    )


def shapley_table(result: Incremental) -> Table:
    """Return what each provider adds, averaged over all orders."""
    metrics = (*result.metrics, MEAN)
    return table(
        "Shapley values in points: what a model adds, averaged over all orders, starting "
        "at chance; with 95 % intervals.",
        ("Model", *map(metric_label, metrics)),
        [
            (text_cell(name), *(interval_cell(cells[metric]) for metric in metrics))
            for name, cells in result.shapley.items()
        ],
        essential=(metric_label(MEAN),),
    )


def _milliseconds(result: Incremental, costs: Costs) -> dict[str, float]:
    """Return each provider's time per query; nothing unless it is known for every one."""
    known = {
        name: cost.ms_per_query for name, cost in costs.items() if cost.ms_per_query is not None
    }
    return known if known.keys() >= result.shapley.keys() else {}


def _shown_metrics(result: Incremental) -> tuple[str, str]:
    """Return the two metrics of the paper's Fig. 3, or what comes closest.

    They are decided for all models together, where any metric is.
    """
    whole = result.subsets[max(result.subsets, key=len)]
    metrics = [m for m in result.metrics if whole[m].decided] or list(result.metrics)
    mean = next((m for m in ("rmean", "rmean-fashioniq") if m in metrics), MEAN)
    if not whole[mean].decided:
        mean = metrics[0]
    return mean, "recall@10" if "recall@10" in metrics else metrics[0]


def _base(result: Incremental, metric: str) -> str:
    """Return the provider the drawn orders start with: the one asked for, or the best alone."""
    singles = [names for names in result.subsets if len(names) == 1]
    decided = [names for names in singles if result.subsets[names][metric].decided]
    (best,) = max(decided or singles, key=lambda names: result.subsets[names][metric].value)
    return result.base or best


def _paths(result: Incremental, metric: str) -> Chart:
    base = _base(result, _shown_metrics(result)[0])
    orders = [order for order in result.orders if order[0] == base]
    lines = []
    for order in orders:
        cells = [result.subsets[tuple(sorted(order[: i + 1]))][metric] for i in range(len(order))]
        steps = [i for i, cell in enumerate(cells) if cell.decided]
        lines.append(
            Line(
                name=" → ".join(order[1:]) or base,
                x=steps,
                y=[in_percent(cells[i].value) for i in steps],
            )
        )
    label = metric_label(metric)
    return line_chart(
        lines,
        title=f"{label} as models are added to {base}, one line per order",
        x_label="models fused",
        y_label=f"{label}, %",
        x_ticks=[str(i + 1) for i in range(len(orders[0]))],
    )


def _shapley_chart(result: Incremental, metrics: Sequence[str]) -> Chart | None:
    spans = [
        Span(
            label=name,
            group=metric_label(metric),
            value=in_percent(cells[metric].value),
            low=in_percent(cells[metric].low),
            high=in_percent(cells[metric].high),
        )
        for metric in metrics
        for name, cells in result.shapley.items()
        if cells[metric].decided
    ]
    if not spans:
        return None
    return interval_chart(spans, title="Shapley value of each model", x_label="points (95 %)")


def _front(result: Incremental, milliseconds: Mapping[str, float], metric: str) -> Chart:
    front = {names for names, _, _ in pareto(result, milliseconds, metric=metric)}
    points = [
        (
            " + ".join(names),
            sum(milliseconds[name] for name in names),
            in_percent(cells[metric].value),
            names in front,
        )
        for names, cells in result.subsets.items()
        if cells[metric].decided
    ]
    return scatter_chart(
        points,
        title="Quality against cost of every subset of models",
        x_label="milliseconds per query, summed over models",
        y_label=f"{metric_label(metric)}, %",
    )
