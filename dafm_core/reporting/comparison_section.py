"""The comparison on a page: verdict, results, differences, audits; all from the JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from dafm_core.reporting.charts import Span, heat_map, interval_chart
from dafm_core.reporting.html import Section
from dafm_core.reporting.tables import (
    Json,
    Table,
    comparison_table,
    difference_table,
    fashioniq_table,
    frame_table,
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
        "findings": _findings(record["audits"]),
        "singles": _singles(record["audits"]),
        "redundancy": _redundancy(record["audits"]["redundancy"], record["protocol"]),
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


def _findings(audits: Json) -> list[str]:
    resolution, leakage = audits["resolution"], audits["leakage"]
    lines = [
        audits["order"]["words"],
        (
            f"A difference below {100 * resolution['clustered_half_width']:.2f} points cannot be "
            f"told from noise if 10 % of the queries flip ({resolution['n_queries']} queries, "
            f"{resolution['n_groups']} groups, design effect {resolution['design_effect']:.2f})."
        ),
    ]
    if leakage:
        lines.append(
            f"Of the held-out queries {100 * leakage['groups']:.1f} % share their group, "
            f"{100 * leakage['targets']:.1f} % a target and {100 * leakage['references']:.1f} % "
            "the reference image with the queries the fusion was fitted on."
        )
    return lines


def _singles(audits: Json) -> Table:
    headroom = audits["headroom"]
    rows = [
        {
            "Model": name,
            "Only it solves, %": 100 * headroom["unique_solves"][name],
            "Targets tied, %": 100 * ties["tied_share"],
            "R@1 if ties lose": 100 * ties["strict"],
            "R@1 as reported": 100 * ties["expected"],
            "R@1 if ties win": 100 * ties["lenient"],
        }
        for name, ties in audits["ties"].items()
    ]
    caption = (
        f"Single models: what each adds ({headroom['solved_metric']}), and what ties are worth."
    )
    return frame_table(rows, caption)


def _redundancy(pairs: Mapping[str, float], protocol: str) -> Markup | None:
    if not pairs:
        return None
    names = list(dict.fromkeys(name for pair in pairs for name in pair.split(" & ")))
    grid = [
        [pairs.get(f"{a} & {b}", pairs.get(f"{b} & {a}")) if a != b else None for b in names]
        for a in names
    ]
    return heat_map(names, names, grid, title=f"Redundancy of the models, {protocol}")
