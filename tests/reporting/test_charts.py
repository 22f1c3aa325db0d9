import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from dafm_core.reporting.charts import (
    Line,
    Span,
    heat_map,
    interval_chart,
    line_chart,
    scatter_chart,
)

LINE = Line(name="a<b> & $x$", x=[0, 1, 2], y=[1, 3, 2], low=[0, 2, 1], high=[2, 4, 3])
CHARTS = {
    "lines": lambda: line_chart([LINE, LINE], title="t", x_label="x", y_label="y"),
    "spans": lambda: interval_chart(
        [Span(label="m", group="g", value=1, low=0, high=2)], title="t", x_label="x"
    ),
    "grid": lambda: heat_map(["r"], ["c", "d"], [[0.5, None]], title="t"),
    "points": lambda: scatter_chart(
        [("a", 1, 2, True), ("b", 2, 1, False)], title="t", x_label="x", y_label="y"
    ),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_one_svg_in_the_pages_colours_and_always_the_same(name):
    chart = CHARTS[name]().svg
    assert ElementTree.fromstring(re.sub(r"xlink:", "", chart)).tag == "svg"
    assert 'role="img" aria-label="t"' in chart
    assert not re.search(r"#[0-9a-f]{6}\b|https?:|<metadata", chart)
    assert "currentColor" in chart
    assert chart == CHARTS[name]().svg


def test_names_stay_text():
    chart = CHARTS["lines"]().svg
    assert "a&lt;b&gt; &amp; $x$" in chart


def test_drawing_leaves_matplotlibs_settings_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    CHARTS["lines"]()
    assert dict(mpl.rcParams) == before


def test_letters_that_the_font_lacks_are_drawn_by_the_page_without_a_warning():
    span = Span(label="\U0001f436 \u0643\u0644\u0628", group="g", value=1, low=0, high=2)
    assert "\U0001f436" in interval_chart([span], title="t", x_label="x").svg


def test_of_many_lines_only_those_that_are_not_faint_are_named():
    many = [replace(LINE, name=f"order {i}", faint=i != 3) for i in range(30)]
    chart = line_chart(many, title="t", x_label="x", y_label="y").svg
    assert re.findall(r"order \d+", chart) == ["order 3"]


def size(chart):
    return [float(n) for n in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', chart.svg).groups()]


def test_a_grid_of_many_long_names_keeps_its_cells_in_sight():
    names = [f"a-model-with-a-name-of-sixty-characters-{i:020d}" for i in range(12)]
    width, height = size(heat_map(names, names, [[0.5] * 12] * 12, title="t"))
    assert width < 72 * 9  # points: no wider than a page
    assert height > 12 * 20


def test_a_long_name_does_not_narrow_the_drawing():
    def front(name):
        points = [(name, 1.0, 2.0, True), ("b", 2.0, 1.0, False)]
        svg = scatter_chart(points, title="t", x_label="x", y_label="y").svg
        return max(float(x) for x in re.findall(r"M [\d.]+ [\d.]+ \nL ([\d.]+) ", svg))

    assert front("a") == pytest.approx(front("a long name " * 30), rel=0.05)


@pytest.mark.parametrize("costs", [(2.3, 3.4, 13.9), (0.05, 0.4, 150.0), (31.0, 44.0), (0.0, 9.0)])
def test_costs_are_numbers_beside_their_axis(costs):
    """Minor ticks of a logarithmic axis came as overprinted formulas."""
    points = [(f"set {i}", cost, float(i), True) for i, cost in enumerate(costs)]
    chart = scatter_chart(points, title="t", x_label="ms", y_label="y")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg)
    numbers = [t for t in texts[: texts.index("ms")] if t]
    assert len(numbers) >= 2
    assert len({float(t.replace("−", "-")) for t in numbers}) == len(numbers)
