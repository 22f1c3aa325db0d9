"""What the audits found, in words and as a table: the same on a page and on the terminal."""

from __future__ import annotations

from dafm_core.reporting.tables import Cell, Json, Table, frame_table, metric_label, text_cell


def findings(audits: Json) -> list[str]:
    """Return what the audits found, a sentence or two each."""
    resolution, leakage = audits["resolution"], audits["leakage"]
    lines = [
        *_shared_errors(audits["headroom"]),
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
    if audits["trials"]:
        lines.append(audits["trials"]["words"])
    return lines


def _shared_errors(headroom: Json) -> list[str]:
    """Return how many failures two models share, at least and at most; nothing for one model."""
    overlap = headroom["error_overlap"]
    if not overlap:
        return []
    pairs = sorted(overlap, key=overlap.__getitem__)
    ends = dict.fromkeys((pairs[0], pairs[-1]))  # one, where there are two models only
    shares = " to ".join(f"{100 * overlap[pair]:.0f} % ({pair})" for pair in ends)
    metric = metric_label(headroom["solved_metric"])
    return [f"Of the queries that either of two models fails ({metric}), both fail {shares}."]


def singles_table(audits: Json) -> Table:
    """Return what each single model adds, and what its ties are worth."""
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
    metric = metric_label(headroom["solved_metric"])
    return frame_table(rows, f"Single models: what each adds ({metric}), and what ties are worth.")


def headroom_table(audits: Json) -> Table:
    """Return the singles' metrics with the oracle, the best choice of a single model per query."""
    headroom = audits["headroom"]
    values = {**headroom["singles"], "oracle": headroom["oracle"]}
    metrics = list(headroom["oracle"])
    return Table(
        caption="Single models, and the best of them per query",
        columns=("Model", *map(metric_label, metrics)),
        rows=tuple(
            (text_cell(name), *(Cell(f"{100 * row[m]:.2f}", 100 * row[m]) for m in metrics))
            for name, row in values.items()
        ),
        kinds=(*("single" for _ in headroom["singles"]), "oracle"),
    )
