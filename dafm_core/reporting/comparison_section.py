"""The comparison on a page: verdict, results, differences, audits; all from the JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from dafm_core.reporting.charts import Span, interval_chart, redundancy_map
from dafm_core.reporting.findings import findings, singles_table
from dafm_core.reporting.page import Section
from dafm_core.reporting.tables import (
    Json,
    comparison_table,
    difference_table,
    fashioniq_table,
)

_ACTIONS = {
    "deploy-learned": "Deploy the learned fusion",
    "deploy-rule": "Deploy a static rule",
    "stay": "Stay with one model",
}


def comparison_section(records: Sequence[Json]) -> Section:
    """Return the section of one comparison, or of FashionIQ's three with their averages.

    Parameters
    ----------
    records : sequence of mapping
        ``Comparison.to_json()`` of each protocol.

    Raises
    ------
    OptionError
        If several comparisons are not FashionIQ's categories under one protocol.
    """
    context: dict[str, Any] = {"parts": [_part(record) for record in records]}
    context["fashioniq"] = fashioniq_table(records) if len(records) > 1 else None
    return Section(id="comparison", title="Comparison", context=context)


def _part(record: Json) -> dict[str, Any]:
    return {
        "record": record,
        "action": _ACTIONS[record["verdict"]["action"]] + ": " + record["verdict"]["name"],
        "table": comparison_table(record),
        "forest": _forest(record),
        "differences": difference_table(record, ["mean"]),
        "all_differences": difference_table(record, [*record["metrics"], "mean"]),
        "findings": findings(record["audits"]),
        "singles": singles_table(record["audits"]),
        "redundancy": redundancy_map(record["audits"]["redundancy"], record["protocol"]),
    }


def _forest(record: Json) -> Markup | None:
    against = {"vs_best_single": "minus best single", "vs_best_static": "minus best static"}
    spans = [
        Span(
            label=row["name"],
            group=group,
            **{key: row[name]["mean"][key] for key in ("value", "low", "high")},
        )
        for row in record["rows"]
        for name, group in against.items()
        if "mean" in row[name]
    ]
    if not spans:
        return None
    title = f"Differences in the mean of the metrics, {record['protocol']}"
    return interval_chart(spans, title=title, x_label="points (95 % interval)")
