"""The incremental analysis on a page: orders, subsets, Shapley values, quality against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dafm_core.comparison.conclusion import Conclusion, conclude
from dafm_core.comparison.rows import MEAN
from dafm_core.comparison.subset_tables import (
    Costs,
    falls_table,
    known_milliseconds,
    monotone_words,
    shapley_table,
    subset_table,
    worth_table,
)
from dafm_core.comparison.subset_values import Incremental, Names, pareto
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
from dafm_core.tables.cells import Table, in_percent

NAMED_ORDERS: Final = 8
"""Lines of more orders than that cannot be told apart, and one of them is named."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What the template shows; ``front`` is None where a cost is missing."""

    result: Incremental
    base: str
    paths: list[Chart]
    paths_words: str
    conclusion: Conclusion | None
    words: list[str]
    falls: Table | None
    worth: Table
    added: Chart | None
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
    milliseconds = known_milliseconds(result, costs or {})
    view = View(
        result=result,
        base=result.label(_base(result, shown[0])),
        paths=[_paths(result, metric) for metric in shown],
        paths_words=_paths_words(result, shown[0]),
        conclusion=conclude(result, costs=milliseconds),
        words=monotone_words(result),
        falls=falls_table(result),
        worth=worth_table(result, costs or {}),
        added=_added_chart(result, shown),
        shapley_table=shapley_table(result),
        subsets=subset_table(result, costs or {}),
        redundancy=redundancy_map(redundancy or {}, result.protocol, label=result.label),
        front=_front(result, milliseconds, shown[0]) if milliseconds else None,
    )
    return Section(id="incremental", title="What each model is worth", view=view)


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
    named = orders if len(orders) <= NAMED_ORDERS else [_best_order(result, base, metric)]
    lines = []
    for order in orders:
        cells = [result.subsets[tuple(sorted(order[: i + 1]))][metric] for i in range(len(order))]
        steps = [i for i, cell in enumerate(cells) if cell.decided]
        lines.append(
            Line(
                name=" → ".join(map(result.label, order[1:])) or result.label(base),
                x=steps,
                y=[in_percent(cells[i].value) for i in steps],
                faint=order not in named,
            )
        )
    label = metric_label(metric)
    return line_chart(
        lines,
        title=f"{label} as models are added to {result.label(base)}, one line per order",
        x_label="models fused",
        y_label=f"{label}, %",
        x_ticks=[str(i + 1) for i in range(len(orders[0]))],
    )


def _paths_words(result: Incremental, metric: str) -> str:
    base = _base(result, metric)
    words = f"One line per order of adding models to {result.label(base)}"
    if sum(order[0] == base for order in result.orders) > NAMED_ORDERS:
        words += "; the one named adds at each step what reaches most"
    return f"{words}. The last point is all of them."


def _best_order(result: Incremental, base: str, metric: str) -> Names:
    """Return the order that adds at each step what reaches most."""
    order: Names = (base,)
    while rest := [name for name in result.shapley if name not in order]:
        reached = {name: result.subsets[tuple(sorted((*order, name)))][metric] for name in rest}
        best = max(rest, key=lambda n: reached[n].value if reached[n].decided else -1.0)
        order += (best,)
    return order


def _added_chart(result: Incremental, metrics: Sequence[str]) -> Chart | None:
    """Return what each model adds to all the others; None for one model, or where undecided."""
    spans = [
        Span(
            label=result.label(name),
            group=metric_label(metric),
            value=in_percent(change.value),
            low=in_percent(change.low),
            high=in_percent(change.high),
            clear=change.clear,
        )
        for metric in metrics
        for name, step in result.added_last.items()
        if (change := step.change[metric]).decided
    ]
    if not spans:
        return None
    title = "What each model adds to all the others"
    return interval_chart(spans, title=title, x_label="points (95 % interval)")


def _front(result: Incremental, milliseconds: Mapping[str, float], metric: str) -> Chart:
    front = {names for names, _, _ in pareto(result, milliseconds, metric=metric)}
    points = [
        (
            result.joined(names),
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
        x_label="ms per query, summed over models, as measured in one run",
        y_label=f"{metric_label(metric)}, %",
    )
