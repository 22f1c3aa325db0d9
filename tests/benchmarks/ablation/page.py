"""The page docs/explanation/ablation.md and its chart, from what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from results import METRICS, Results
from settings import Setting

from dafm_core.ground.statistics import Resampler

HEADS: Final = ("R@1", "R@5", "R@10", "R@50", "Rs@1", "Rmean")
LEARNED: Final = (
    "light (default)",
    *(f"{way}, same inputs" for way in ("linear InfoNCE", "LambdaMART", "logistic")),
    "greedy selection, same inputs",
)
"""The learned peers that are compared with each other."""
R10, RS1 = METRICS.index("recall@10"), METRICS.index("rsubset@1")


OLDER: Final = """
Measured by an older version: one score for both rankings, and a start from the plain mean of the
evidence. What an input or a network is worth beside another has not been measured again.
"""


PAIRS: Final = """
Learned fusers against each other, paired. In round brackets, where there is more than one
cross-fitting (other folds, another seed): the lowest and the highest mean of the metrics.
"""


def page(
    introduction: str,
    measured: Sequence[Results],
    older: Sequence[Results],
    orders: Mapping[str, Any],
) -> str:
    """Return the page.

    Parameters
    ----------
    measured, older : sequence of Results
        By the present version, and what an earlier one measured: shown apart, and only where the
        present one has nothing.
    orders : mapping of data set to JSON
        What ``dafm incremental --json`` wrote; as old as ``older``.
    """
    lines = [introduction]
    by_name = {results.name: results for results in measured}
    for results in measured:
        lines += [_heading(results), *_sections(results)]
        before = next((old for old in older if old.name == results.name), results)
        if missing := unmeasured(results, before):
            lines.append(f"\nNot measured on {results.name}: {'; '.join(missing)}.")
    for results in older:
        new = by_name.get(results.name)
        lines += [_heading(results, ", older version"), OLDER, *_sections(results, beside=new)]
        if results.name in orders:
            lines += ["\n### Providers added one at a time\n", *_orders(orders[results.name])]
    return "\n".join(lines) + "\n"


def unmeasured(results: Results, older: Results) -> list[str]:
    """Return what neither the present version nor an older one has measured, by section."""
    return [
        f"{section}, {', '.join(lacking)}"
        for section, members in results.sections()
        if (lacking := [m.name for m in members if not _measured_by_any(m, results, older)])
    ]


def _measured_by_any(setting: Setting, *results: Results) -> bool:
    return any(each.n_measured(setting) for each in results)


def _heading(results: Results, note: str = "") -> str:
    n_queries, n_folds = len(results.arrays["groups"]), int(results.arrays["n_folds"])
    groups = f"{results.resampler.n_groups} groups"
    return f"\n## On {results.name}{note}: {n_queries} queries in {groups}, {n_folds} folds\n"


def _sections(results: Results, *, beside: Results | None = None) -> Iterator[str]:
    """Yield every section that is stored, but those that other results have too."""
    for section, members in results.sections():
        known = [m for m in members if results.n_measured(m)]
        if len(known) < 2 or (beside and all(beside.n_measured(m) for m in known)):
            continue
        n = min(results.n_measured(m) for m in known)
        note = f", mean of {n} cross-fittings on different folds" * (n > 1)
        yield f"\n### {section}{note}\n"
        yield from _table(results, known)
        if section == "Peers":
            learned = [m for m in known if m.name in LEARNED]
            yield from _against_each_other(results, learned)
            if n > 1:
                yield from _spread(results, learned)


def _table(results: Results, members: Sequence[Setting]) -> Iterator[str]:
    head = " | ".join(HEADS)
    yield f"| | {head} | R@10 minus the first row's | mean of metrics, likewise |"
    yield "|---" * (len(HEADS) + 3) + "|"
    values = [_values(results, setting) for setting in members]
    away = [100 * (other - values[0]) for other in values[1:]]
    differences = iter(_intervals([pair for d in away for pair in _pair(d)], results.resampler))
    for setting, mine in zip(members, values, strict=True):
        shown = " | ".join(f"{100 * value:.2f}" for value in mine.mean(axis=0))
        cells = " |" if mine is values[0] else f"{next(differences)} | {next(differences)}"
        yield f"| {setting.name} | {shown} | {cells} |"


def _against_each_other(results: Results, members: Sequence[Setting]) -> Iterator[str]:
    """Yield the paired differences of every two, and their range over the cross-fittings."""
    yield PAIRS
    yield "| | minus | R@10 | mean of metrics |"
    yield "|---|---|---|---|"
    pairs = [(one, other) for i, one in enumerate(members) for other in members[i + 1 :]]
    found = {setting.key: results.cross_fittings(setting) for setting in members}
    for one, other in pairs:
        first, second = found[one.key], found[other.key]
        assert first is not None
        assert second is not None
        n = min(len(first), len(second))
        each = 100 * (first[:n] - second[:n])  # (n_cross_fittings, n_queries, n_metrics)
        cells = " | ".join(_intervals(_pair(each.mean(axis=0)), results.resampler))
        means = each.mean(axis=(1, 2))
        spread = f" ({means.min():+.2f}, {means.max():+.2f})" if n > 1 else ""
        yield f"| {one.name} | {other.name} | {cells}{spread} |"


def _spread(results: Results, members: Sequence[Setting]) -> Iterator[str]:
    """Yield the lowest and the highest of each metric over the cross-fittings."""
    yield "\nLowest and highest of the cross-fittings:\n"
    yield f"| | {' | '.join(HEADS)} |"
    yield "|---" * (len(HEADS) + 1) + "|"
    for setting in members:
        found = results.cross_fittings(setting)
        assert found is not None
        means = 100 * found.mean(axis=1)  # (n_cross_fittings, n_metrics)
        cells = (
            f"{low:.2f} to {high:.2f}"
            for low, high in zip(means.min(axis=0), means.max(axis=0), strict=True)
        )
        yield f"| {setting.name} | {' | '.join(cells)} |"


def _pair(away: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what is compared: R@10, and the mean of the metrics."""
    return away[:, R10], away.mean(axis=1)


def _intervals(columns: Sequence[NDArray[np.float64]], resampler: Resampler) -> list[str]:
    """Return the mean of each column with its 95 % interval."""
    together = np.stack(columns, axis=1)
    low, high, _ = resampler.summary(together)
    cells = zip(together.mean(axis=0), low, high, strict=True)
    return [f"{m:+.2f} [{a:+.2f}, {b:+.2f}]" for m, a, b in cells]


def _orders(record: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"Every subset of {len(record['shapley'])} providers, fused by the default and "
        f"cross-fitted alike; {len(record['orders'])} orders. Shapley values are what each "
        "provider adds to R@10, averaged over all orders.\n"
    )
    for metric in METRICS:
        yield f"* {record['monotone'][metric]}"
    shares = (
        f"{name} {c['recall@10']['value']:.2f} [{c['recall@10']['low']:.2f}, "
        f"{c['recall@10']['high']:.2f}]"
        for name, c in record["shapley"].items()
    )
    yield f"* Shapley values of R@10: {'; '.join(shares)}."


def draw_frontier(measured: Sequence[Results], path: Path) -> None:
    """Draw R@10 against Rs@1 for every weight of the subset's loss.

    Bars are 95 % intervals of the difference from the default, which itself has none.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panels = figure.subplots(1, len(measured), squeeze=False)[0]
    for axes, results in zip(panels, measured, strict=True):
        members = dict(results.sections())["Objective (linear)"]
        default, *_ = pairs = [100 * _values(results, m)[:, [R10, RS1]] for m in members]
        means = np.array([pair.mean(axis=0) for pair in pairs])
        low, high, _ = results.resampler.summary(np.concatenate([p - default for p in pairs], 1))
        bounds = np.stack([low, high]).reshape(2, -1, 2)  # (low or high, point, R@10 or Rs@1)
        bars = np.abs(bounds - (means - means[0]))
        order = means[:, 1].argsort()
        axes.plot(means[order, 1], means[order, 0], color="#aaa", linewidth=1, zorder=1)
        axes.errorbar(
            *(means[:, 1], means[:, 0]),
            xerr=bars[:, :, 1],
            yerr=bars[:, :, 0],
            fmt="o",
            color="#333",
            ecolor="#ccc",
            markersize=4,
            zorder=2,
        )
        for place, member in enumerate(np.array(members)[order]):
            at = means[order[place], ::-1]
            label = member.name.removeprefix("gallery + ").removesuffix(" (default)")
            shift, aligned = ((3, 6), "left") if place % 2 else ((-3, -7), "right")
            axes.annotate(
                *(label.removesuffix(" subset"), at),
                xytext=shift,
                textcoords="offset points",
                size=7,
                ha=aligned,
                va="bottom" if place % 2 else "top",
            )
        axes.set(xlabel="Rs@1", ylabel="R@10", title=results.name)
        axes.margins(0.12)
        axes.spines[["top", "right"]].set_visible(False)
    with mpl.rc_context({"svg.hashsalt": "dafm", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def _values(results: Results, setting: Setting) -> NDArray[np.float64]:
    values = results.values(setting)
    if values is None:
        raise KeyError(setting.key)
    return values
