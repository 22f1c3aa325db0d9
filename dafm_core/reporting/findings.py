"""What the audits found, in words and as tables: the same on a page and on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dafm_core.comparison.audit import Audits, Headroom, Resolution
from dafm_core.comparison.tables import metric_column
from dafm_core.evaluation.design import Leakage
from dafm_core.evaluation.learning_curve import LearningCurve
from dafm_core.metrics.families import HEADS
from dafm_core.metrics.spec import metric_label, parse_metric, undecided_words
from dafm_core.tables.cells import Cell, Column, Table, percent, percent_cell, table, text_cell

_SINGLES_COLUMNS: Final = (
    "Model",
    "Only it solves, %",
    "Targets tied, %",
    "R@1 if ties lose",
    "R@1 as reported",
    "R@1 if ties win",
)


def findings(audits: Audits, *, label: Callable[[str], str] = str) -> list[str]:
    """Return what the audits found, a sentence or two each."""
    lines = [
        *_shared_errors(audits.headroom, label),
        *filter(None, [audits.references.words(label)]),
        audits.order.words,
        _resolution(audits.resolution),
    ]
    if audits.leakage:
        lines.append(_leakage(audits.leakage))
    if audits.trials:
        lines.append(audits.trials.words)
    return lines


def undecided_singles(audits: Audits, *, label: Callable[[str], str] = str) -> list[str]:
    """Return which metrics each model's shortlists do not decide, a line each."""
    return [
        f"{label(name)}: {undecided_words(shares)}"
        for name, shares in audits.headroom.undecided.items()
    ]


def _shared_errors(headroom: Headroom, label: Callable[[str], str]) -> list[str]:
    """Return how many failures two models share, at least and at most; nothing for one model."""
    overlap = headroom.error_overlap
    if not overlap:
        return []
    pairs = sorted(overlap, key=overlap.__getitem__)
    ends = dict.fromkeys((pairs[0], pairs[-1]))  # one, where there are two models only
    shares = " to ".join(
        f"{percent(overlap[pair], digits=0)} % ({_pair(pair, label)})" for pair in ends
    )
    metric = metric_label(headroom.solved_metric)
    return [f"Of the queries that either of two models fails ({metric}), both fail {shares}."]


def _leakage(leakage: Leakage) -> str:
    groups = (
        ""
        if leakage.groups is None
        else f"{percent(leakage.groups, digits=1)} % share their group, "
    )
    share = "" if groups else "share "
    return (
        f"Of the held-out queries {groups}{percent(leakage.targets, digits=1)} % {share}a target "
        f"and {percent(leakage.references, digits=1)} % the reference image with the queries the "
        "fusion was fitted on."
    )


def _pair(pair: str, label: Callable[[str], str]) -> str:
    return " & ".join(map(label, pair.split(" & ")))


def _resolution(resolution: Resolution) -> str:
    counts = f"{resolution.n_queries} queries, {resolution.n_groups} groups"
    if resolution.design_effect is None or resolution.clustered_half_width is None:
        bound = resolution.half_width
        effect = (
            "a design effect is not measured: that takes two models whose answers differ; if "
            "queries of one group go together, the bound is larger"
        )
    else:
        bound = resolution.clustered_half_width
        effect = _effect_words(resolution.design_effect)
    return (
        f"A difference below {percent(bound)} points cannot be told from noise if 10 % of the "
        f"queries flip ({counts}, {effect})."
    )


def _effect_words(effect: float) -> str:
    """Say what groups do to the bound; measured by chance below 1, it does not narrow it."""
    words = f"design effect {effect:.2f}: "
    if effect <= 1:
        return words + "queries of one group go no more together than any others; taken as 1"
    return words + f"groups make the variance {effect:.2f} times that of independent queries"


def singles_table(audits: Audits, *, label: Callable[[str], str] = str) -> Table:
    """Return what each single model adds, and what its ties are worth."""
    headroom = audits.headroom
    rows = []
    for name, ties in audits.ties.items():
        shares = (
            headroom.unique_solves[name],
            ties.tied_share,
            ties.strict,
            ties.expected,
            ties.lenient,
        )
        rows.append([text_cell(label(name)), *map(percent_cell, shares)])
    metric = metric_label(headroom.solved_metric)
    return table(
        f"Single models: what each adds ({metric}), and what ties are worth.",
        _SINGLES_COLUMNS,
        rows,
    )


def tags_table(
    values: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    *,
    label: Callable[[str], str] = str,
) -> Table:
    """Return the singles by tag, on mAP@10 as CIRCO reports it, else on the headline metric."""
    rows = next(iter(values.values()))
    metrics = list(next(iter(rows.values())))
    metric = "map@10" if "map@10" in metrics else metrics[0]
    return table(
        f"Single models by tag, {metric_label(metric)}",
        ("Model", *values),
        [
            [text_cell(label(name)), *(_tag_cell(values[tag][name][metric]) for tag in values)]
            for name in rows
        ],
    )


def _tag_cell(value: float | None) -> Cell:
    return percent_cell(float("nan") if value is None else value / 100)


def curve_table(curve: LearningCurve) -> Table:
    """Return what labels buy, a row for each number of them."""
    n_draws, last = curve.values.shape[1], len(curve.sizes) - 1
    names = ["no labels", *map(str, curve.sizes[1:-1]), f"{curve.sizes[-1]} (all)"]
    rows = []
    for point, (name, mean) in enumerate(zip(names, curve.means, strict=True)):
        spans: list[tuple[float, float] | None] = [None] * len(mean)
        if 0 < point < last and n_draws > 1:
            draws = curve.values[point]
            spans = list(zip(draws.min(axis=0), draws.max(axis=0), strict=True))
        rows.append([text_cell(name), *map(percent_cell, mean, spans)])
    drawn = f"; in brackets lowest and highest of {n_draws} draws of the labels" if last > 1 else ""
    note = (
        f"Means over {curve.n_measured} held-out queries of {curve.n_folds} folds{drawn}. The bank "
        "has all training queries, labelled or not. Without labels: debiased; with labels: the "
        "linear part of light, which leaves debiased as far as they speak for it; networks add to "
        "it from 200 labels on."
    )
    in_two = any("subset" in head for m in curve.metrics for head in parse_metric(m).heads)
    heads = HEADS if in_two else HEADS[:1]  # both fusers have a score for the subset
    columns: list[Column | str] = ["Labels"]
    columns += [metric_column(metric, heads) for metric in curve.metrics]
    return table("What labels buy", columns, rows, notes=[note])


def headroom_table(audits: Audits, *, label: Callable[[str], str] = str) -> Table:
    """Return the singles' metrics with the oracle, the best choice of a single model per query."""
    headroom = audits.headroom
    metrics = list(headroom.oracle)
    values = {**headroom.singles, "oracle": headroom.oracle}
    return table(
        "Single models, and the best of them per query",
        ("Model", *map(metric_label, metrics)),
        [
            [text_cell(label(n)), *(percent_cell(row[m]) for m in metrics)]
            for n, row in values.items()
        ],
        kinds=[*("single" for _ in headroom.singles), "oracle"],
    )
