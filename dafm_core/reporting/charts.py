"""Charts as inline SVG that follows the page: its ink, its paper and its series colours.

matplotlib draws with placeholder colours which become CSS variables here, so one drawing serves
light, dark and print. Series differ by marker and line style as well as by colour. Texts stay
texts; ids depend on the content alone, so the same numbers give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from dafm_core.reporting.layout import fold
from dafm_core.tables.cells import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _RULE, _PAPER = "#010101", "#010102", "#010103"
_SERIES = tuple(f"#0202{i:02x}" for i in range(8))
_CSS = {_INK: "currentColor", _RULE: "var(--rule)", _PAPER: "var(--paper)"} | {
    colour: f"var(--s{i})" for i, colour in enumerate(_SERIES)
}
LONG_NAME = 20
"""Characters; a legend of longer names stands below the chart, not beside it."""
FOLDED, LEGEND = 24, 84
"""Characters in a line of a name beside an axis, and in a legend."""
LOG_FROM = 4.0
"""How far apart costs are before their axis is logarithmic: it has ticks at 1, 2, 5, 10, ..."""
WIDE = 7.0
"""Inches; the heads of a wider grid are slanted, so that its cells stay in sight."""
_MARKERS = "osD^vPX*"
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 3)))
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """A named series; ``low`` and ``high`` shade or bar its uncertainty."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    faint: bool = False
    """Whether it is one of many that are drawn for the sight of all, and not named."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """One line of an interval chart: a value with its interval, in a named group.

    Its marker is filled where the value is clearly not zero, by whatever rule its maker has.
    """

    label: str
    group: str
    value: float
    low: float
    high: float
    clear: bool = True


@dataclass(frozen=True)
class Chart:
    """A drawing and its title, which stands above it; in a template it is the drawing."""

    title: str
    svg: Markup

    def __html__(self) -> str:
        """Return the drawing for a template."""
        return self.svg


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[str] | None = None,
    zero_line: bool = False,
) -> Chart:
    """Return one panel of lines; ``x_ticks`` names the positions 0, 1, ... of the x axis."""

    def draw(axes: Axes) -> None:
        if zero_line:
            axes.axhline(0, color=_RULE, linewidth=1)
        for i, line in enumerate(lines):
            if line.faint:
                axes.plot(line.x, line.y, color=_RULE, linewidth=1, zorder=1)
                continue
            colour, marker = _SERIES[i % 8], _MARKERS[i % 8]
            style: Any = _LINES[i % 8]
            sparse = max(1, len(line.x) // 8)
            axes.plot(
                line.x, line.y, color=colour, linestyle=style, marker=marker, label=line.name,
                markevery=sparse, markersize=6, markeredgecolor=_PAPER, linewidth=1.8,
            )  # fmt: skip
            if line.low is not None and line.high is not None:
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, lw=0)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.grid(visible=True, axis="y")
        if x_ticks is not None:
            axes.set_xticks(range(len(x_ticks)), x_ticks)
        if len(lines) > 1 and below:
            _legend_below(axes)
        elif len(lines) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))

    named = [line.name for line in lines if not line.faint]
    below = max(map(len, named), default=0) > LONG_NAME
    return _render(draw, title=title, size=(6.8, 3.4 + 0.2 * below * _n_lines(named)))


def interval_chart(spans: Sequence[Span], *, title: str, x_label: str) -> Chart:
    """Return values with intervals as a forest around zero, groups by marker and colour."""
    labels = list(dict.fromkeys(span.label for span in spans))
    groups = list(dict.fromkeys(span.group for span in spans))

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=_INK, linewidth=1)
        for g, group in enumerate(groups):
            mine = [span for span in spans if span.group == group]
            shift = (g - (len(groups) - 1) / 2) * 0.28
            places = [labels.index(span.label) + shift for span in mine]
            values = [span.value for span in mine]
            bars = [
                [max(0.0, span.value - span.low) for span in mine],
                [max(0.0, span.high - span.value) for span in mine],
            ]
            axes.errorbar(
                values, places, xerr=bars, fmt="", linestyle="", color=_SERIES[g % 8], capsize=3,
                linewidth=1.8,
            )  # fmt: skip
            for clear in (True, False):
                shown = [
                    (v, y) for v, y, s in zip(values, places, mine, strict=True) if s.clear == clear
                ]
                axes.plot(
                    [v for v, _ in shown], [y for _, y in shown], linestyle="",
                    marker=_MARKERS[g % 8], markersize=7, color=_SERIES[g % 8],
                    markerfacecolor=_SERIES[g % 8] if clear else _PAPER,
                    label=(group or None) if clear else None,
                )  # fmt: skip
        axes.set_yticks(range(len(labels)), [fold(name, FOLDED) for name in labels])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlabel(x_label)
        axes.grid(visible=True, axis="x")
        if len(groups) > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(groups))

    height = 1.1 + 0.26 * max(2, len(labels)) * max(1.0, len(groups) * 0.75)
    return _render(draw, title=title, size=(6.8, height))


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    title: str,
    as_percent: bool = False,
) -> Chart:
    """Return a grid of values in [-1, 1]: ink grows with size, and each cell says its number."""
    show = partial(percent, digits=0) if as_percent else "{:.2f}".format

    def draw(axes: Axes) -> None:
        for r, row in enumerate(values):
            for c, value in enumerate(row):
                if value is None or math.isnan(value):
                    continue
                colour = _SERIES[0] if value >= 0 else _SERIES[1]
                box: Any = (c - 0.48, c + 0.48, c + 0.48, c - 0.48)
                edge: Any = (r - 0.46, r - 0.46, r + 0.46, r + 0.46)
                axes.fill(box, edge, color=colour, alpha=0.05 + 0.55 * abs(value), lw=0)
                axes.text(c, r, show(value), ha="center", va="center")
        slant: Any = {"rotation": 45, "ha": "left", "rotation_mode": "anchor"} if slanted else {}
        axes.set_xticks(range(len(columns)), heads, **slant)
        axes.set_yticks(range(len(rows)), [fold(name, FOLDED) for name in rows])
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
        axes.spines[:].set_visible(False)

    heads = [fold(name, FOLDED) for name in columns]
    longest = max(len(line) for name in heads for line in name.split("\n"))
    slanted = len(columns) * 0.09 * longest > WIDE
    width = 1.6 + len(columns) * (0.58 if slanted else max(0.8, 0.09 * longest))
    height = 0.6 + 0.34 * len(rows) + (0.06 * longest if slanted else 0)
    return _render(draw, title=title, size=(width, height))


def redundancy_map(
    pairs: Mapping[str, float], protocol: str, *, label: Callable[[str], str] = str
) -> Chart | None:
    """Return the rank correlations of ``"a & b"`` as a grid; None for a single model."""
    if not pairs:
        return None
    names = list(dict.fromkeys(name for pair in pairs for name in pair.split(" & ")))
    grid = [[pairs.get(f"{a} & {b}", pairs.get(f"{b} & {a}")) for b in names] for a in names]
    shown = [label(name) for name in names]
    return heat_map(shown, shown, grid, title=f"Redundancy of the models, {protocol}")


def scatter_chart(
    points: Sequence[tuple[str, float, float, bool]],
    *,
    title: str,
    x_label: str,
    y_label: str,
) -> Chart:
    """Return named points (name, x, y, on the front); the front is joined, numbered and named.

    Costs differ by orders of magnitude: where they do, the x axis is logarithmic.
    """
    costs = [x for _, x, _, _ in points]
    spread = min(costs, default=0) > 0 and max(costs) > LOG_FROM * min(costs)

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator

        front = sorted((x, y, name) for name, x, y, ahead in points if ahead)
        rest = [(x, y) for _, x, y, ahead in points if not ahead]
        if rest:
            axes.plot(
                *zip(*rest, strict=True), linestyle="", marker="o", markersize=5,
                color=_SERIES[1], fillstyle="none", label="another subset does better for less",
            )  # fmt: skip
        axes.step(
            [x for x, _, _ in front], [y for _, y, _ in front],
            where="post", color=_SERIES[0], linewidth=1.2,
        )  # fmt: skip
        for number, (x, y, name) in enumerate(front, 1):
            axes.plot(
                x, y, linestyle="", marker="D", markersize=7, color=_SERIES[0],
                markeredgecolor=_PAPER, label=f"{number}: {name}",
            )  # fmt: skip
            axes.annotate(str(number), (x, y), (0, 7), textcoords="offset points", ha="center")
        axes.set(xlabel=x_label, ylabel=y_label)
        if spread:
            axes.set_xscale("log")
            axes.set_xticks([], minor=True)
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(x=0.12, y=0.15)
        axes.grid(visible=True)
        _legend_below(axes)

    ahead = [name for name, _, _, on_front in points if on_front]
    return _render(draw, title=title, size=(6.8, 3.4 + 0.2 * (1 + _n_lines(ahead))))


def _legend_below(axes: Axes) -> None:
    """Put the names of series below the drawing, which keeps its width; long ones are folded."""
    handles, names = axes.get_legend_handles_labels()
    figure: Any = axes.figure
    folded = [fold(name, LEGEND) for name in names]
    figure.legend(handles, folded, loc="outside lower left", borderaxespad=0.6)


def _n_lines(names: Sequence[str]) -> int:
    """Return how many lines these names take in a legend."""
    return sum(fold(name, LEGEND).count("\n") + 1 for name in names)


def _render(draw: Callable[[Axes], None], *, title: str, size: tuple[float, float]) -> Chart:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {**_STYLE, "svg.hashsalt": title}
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        with warnings.catch_warnings():  # of letters that the page's own font has
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return Chart(title, _inline(buffer.getvalue(), title))


def _inline(svg: str, title: str) -> Markup:
    """Return the drawing in the page's colours, named for who cannot see it, without XML head."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r' xmlns(:xlink)?="[^"]*"', "", body)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", body)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda match: _CSS.get(match[0], match[0]), body)
    named = Markup('<svg role="img" aria-label="{}"').format(title)
    return Markup(body.replace("<svg", str(named), 1))  # noqa: S704  # matplotlib escapes texts
