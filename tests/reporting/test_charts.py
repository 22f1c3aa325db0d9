import re
import xml.etree.ElementTree as ElementTree

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
