"""What a fusion learned, on a page: weights by query type, responses, reliability, its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from dafm_core.cases.explain import Learned
from dafm_core.metrics.spec import EXAMPLES, metric_label
from dafm_core.reporting.charts import Chart, Line, heat_map, line_chart
from dafm_core.reporting.page import Section
from dafm_core.tables.cells import (
    Table,
    count_cell,
    in_percent,
    percent_cell,
    table,
    text_cell,
)

POINTS: Final = 50
"""A number that was recorded more often is drawn as means of so many steps that these are left."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What the template shows."""

    name: str
    of_head: str
    weights: Chart
    weight_table: Table
    responses: Chart
    reliability: Chart
    training: list[Chart]


def learned_section(learned: Learned) -> Section:
    """Return the section of one fusion."""
    view = View(
        name=learned.name,
        of_head="the score of its gallery head" if len(learned.heads) > 1 else "its scores",
        weights=_weights(learned),
        weight_table=_weight_table(learned),
        responses=_responses(learned),
        reliability=_reliability(learned),
        training=_training(learned),
    )
    return Section(id="learned", title="What the fusion learned", view=view)


def _weights(learned: Learned) -> Chart:
    return heat_map(
        [f"{of_type.query_type} ({of_type.n_queries})" for of_type in learned.weights],
        list(learned.weights[0].weights),
        [list(of_type.weights.values()) for of_type in learned.weights],
        title=f"Weight of each model under {learned.name}, by query type",
        as_percent=True,
    )


def _weight_table(learned: Learned) -> Table:
    return table(
        "Weights, in percent, of the weighted sum of z-scores that is nearest to the fusion, per "
        "query and then averaged; linear share: how much of the fused scores that sum explains.",
        ("Query type", "Queries", "Linear share, %", *learned.weights[0].weights),
        [
            (
                text_cell(of_type.query_type),
                count_cell(of_type.n_queries),
                percent_cell(of_type.explained),
                *map(percent_cell, of_type.weights.values()),
            )
            for of_type in learned.weights
        ],
    )


def _responses(learned: Learned) -> Chart:
    lines = [
        Line(
            name=response.provider,
            x=response.standardised,
            y=response.median,
            low=response.low,
            high=response.high,
        )
        for response in learned.responses
    ]
    return line_chart(
        lines,
        title=f"How the fused score under {learned.name} answers to each model's score",
        x_label="the model's score of a candidate (SD of its row)",
        y_label="change of fused score (SD)",
        zero_line=True,
    )


def _reliability(learned: Learned) -> Chart:
    bins = learned.reliability
    line = Line(
        name="",
        x=[of_margin.margin for of_margin in bins],
        y=[in_percent(of_margin.right) for of_margin in bins],
        low=[max(0.0, in_percent(of_margin.low)) for of_margin in bins],
        high=[min(100.0, in_percent(of_margin.high)) for of_margin in bins],
    )
    return line_chart(
        [line],
        title=f"Reliability of the margin of {learned.name}",
        x_label="first above second candidate (SD of the fused row)",
        y_label="first is right, %",
    )


def _training(learned: Learned) -> list[Chart]:
    """Return a chart of every recorded number that ever changes, with one line per network."""
    recorded = dict.fromkeys(n for steps in learned.history for step in steps for n in step)
    recorded.pop("epoch", None)
    charts = []
    for name in recorded:
        curves = [
            [(i, step[name]) for i, step in enumerate(steps) if name in step]
            for steps in learned.history
        ]
        if len({value for curve in curves for _, value in curve}) == 1:
            continue  # a temperature that is fixed
        is_metric = name in EXAMPLES
        label = metric_label(name) if is_metric else name.replace("_", " ")
        together = -(-max(map(len, curves)) // POINTS)
        lines = []
        for number, curve in enumerate(curves, 1):
            if curve:
                x, y = zip(*_means(curve, together), strict=True)
                y = tuple(map(in_percent, y)) if is_metric else y
                lines.append(Line(name=f"network {number}", x=x, y=y))
        unit = f"{label}, %" if is_metric else label
        charts.append(
            line_chart(
                lines,
                title=f"{label[0].upper()}{label[1:]} while {learned.name} was fitted",
                x_label="step",
                y_label=f"{unit}, mean of {together} steps" if together > 1 else unit,
            )
        )
    return charts


def _means(curve: Sequence[tuple[int, float]], together: int) -> list[tuple[float, float]]:
    """Return the means of every so many neighbouring points."""
    chunks = [curve[start : start + together] for start in range(0, len(curve), together)]
    return [(fmean(x for x, _ in chunk), fmean(y for _, y in chunk)) for chunk in chunks]
