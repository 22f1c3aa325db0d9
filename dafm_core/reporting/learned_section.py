"""What a fusion learned, on a page: weights by query type, responses, reliability, its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from dafm_core.cases.explain import (
    effective_weights,
    margin_reliability,
    response_curves,
    weights_by_query_type,
)
from dafm_core.fusion.base import Fuser
from dafm_core.reporting.charts import Line, heat_map, line_chart
from dafm_core.reporting.page import Section
from dafm_core.reporting.tables import Table, frame_table
from dafm_core.store.stack import SimilarityStack

WEIGHED = 500
"""Queries whose weights are found: more would say the same."""
POINTS = 200
"""A training curve of more steps is thinned out evenly to at most this many."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """What is known of one fusion: the frames of ``explain.py``, and what its fit recorded.

    Parameters
    ----------
    name : str
    weights, responses, reliability : polars.DataFrame
        Of ``weights_by_query_type``, ``response_curves`` and ``margin_reliability``.
    history : sequence of sequences of mapping
        What was recorded while fitting: for each network, numbers by name at each step.
    """

    name: str
    weights: pl.DataFrame
    responses: pl.DataFrame
    reliability: pl.DataFrame
    history: Sequence[Sequence[Mapping[str, float]]] = ()

    @classmethod
    def of(cls, name: str, fuser: Fuser, held_out: SimilarityStack) -> Learned:
        """Ask a fitted fuser, on queries it has not seen; errors as ``evaluate``.

        Reliability is of all of them; weights are of ``WEIGHED`` drawn from them.
        """
        drawn = np.random.default_rng(0).permutation(held_out.n_queries)[:WEIGHED]
        some = held_out.take_queries([held_out.query_ids[i] for i in np.sort(drawn)])
        weights = effective_weights(fuser, some)
        return cls(
            name=name,
            reliability=margin_reliability(fuser, held_out),
            weights=weights_by_query_type(weights, some.dataset),
            responses=response_curves(fuser, held_out),
            history=fuser.history_,
        )


def learned_section(learned: Learned) -> Section:
    """Return the section of one fusion."""
    context = {
        "name": learned.name,
        "weights": _weights(learned),
        "weight_table": _weight_table(learned),
        "responses": _responses(learned),
        "reliability": _reliability(learned),
        "training": _training(learned),
    }
    return Section(id="learned", title="What the fusion learned", context=context)


def _weights(learned: Learned) -> Markup:
    frame = learned.weights
    names = [c for c in frame.columns if c not in ("query_type", "n_queries", "explained")]
    rows = [f"{kind} ({n})" for kind, n in frame.select("query_type", "n_queries").iter_rows()]
    title = f"Weight of each model under {learned.name}, by query type"
    return heat_map(
        rows, names, [list(row) for row in frame.select(names).iter_rows()], title=title
    )


def _weight_table(learned: Learned) -> Table:
    frame = learned.weights.rename({"query_type": "Query type", "n_queries": "Queries"})
    frame = frame.rename({"explained": "Linear share"})
    return frame_table(
        frame.to_dicts(),
        "Weights of the weighted sum of z-scores that is nearest to the fusion, per query and then "
        "averaged; linear share: how much of the fused scores that sum explains.",
    )


def _responses(learned: Learned) -> Markup:
    parts = learned.responses.partition_by("provider", as_dict=True, maintain_order=True)
    lines = [
        Line(
            name=str(key[0]),
            x=part["standardised"].to_list(),
            y=part["response"].to_list(),
            low=part["low"].to_list(),
            high=part["high"].to_list(),
        )
        for key, part in parts.items()
    ]
    return line_chart(
        lines,
        title=f"How the fused score under {learned.name} answers to each model's score",
        x_label="the model's score of a candidate (SD of its row)",
        y_label="change of fused score (SD)",
        zero_line=True,
    )


def _reliability(learned: Learned) -> Markup:
    frame = learned.reliability
    columns: Any = {
        name: [100 * value for value in frame[name]] for name in ("right", "low", "high")
    }
    line = Line(
        name="",
        x=frame["margin"].to_list(),
        y=columns["right"],
        low=columns["low"],
        high=columns["high"],
    )
    return line_chart(
        [line],
        title=f"Reliability of the margin of {learned.name}",
        x_label="first above second candidate (SD of the fused row)",
        y_label="first is right, %",
    )


def _training(learned: Learned) -> list[Markup]:
    """Return one chart per number that was recorded, with one line per network."""
    recorded = dict.fromkeys(n for steps in learned.history for step in steps for n in step)
    charts = []
    for name in recorded:
        if name == "epoch":
            continue
        lines = []
        for number, steps in enumerate(learned.history, 1):
            points = [(i, step[name]) for i, step in enumerate(steps) if name in step]
            if points:
                x, y = zip(*points[:: 1 + len(points) // POINTS], strict=True)
                lines.append(Line(name=f"network {number}", x=x, y=y))
        title = f"{name} while {learned.name} was fitted"
        charts.append(line_chart(lines, title=title, x_label="step", y_label=name))
    return charts
