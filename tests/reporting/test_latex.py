"""Tables in LaTeX: whole numbers, balanced and escaped, grouped heads, wide tables made to fit."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dafm_core.comparison.compare import compare
from dafm_core.comparison.tables import comparison_table
from dafm_core.evaluation.design import Folds
from dafm_core.fusion.static import MeanFusion, VotingFusion
from dafm_core.reporting.latex import to_latex
from dafm_core.tables.cells import Column, percent_cell, table, text_cell


@pytest.fixture(scope="module")
def comparison(make_problem):
    _, stack = make_problem(n_queries=60, n_gallery=40)
    fusers = {"mean": MeanFusion(), "a_b & c|d": VotingFusion()}
    return compare(stack, fusers, design=Folds(3), n_resamples=200)


def test_latex_is_balanced_escaped_and_ruled(comparison):
    text = to_latex(comparison_table(comparison), label="tab:one")
    assert r"a\_b \& c|d & " in text
    assert text.count(r"\midrule") == 3  # under the head, before statics, before the oracle
    assert text.count("{") == text.count("}")
    for line in text.splitlines():
        if line.endswith(r"\\") and r"\multicolumn" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == len(comparison.metrics) + 1


def test_differences_stand_below_one_row(comparison):
    shown = comparison_table(comparison, deltas=True)
    names = [row[0].text for row in shown.rows]
    place = names.index("Δ to best single")
    assert shown.kinds[place] == "delta"
    above = next(row for row in comparison.rows if row.name == names[place - 1])
    assert above.kind == "static"
    text = to_latex(shown)
    assert r"$\Delta$ to best single" in text
    assert text.count(r"\midrule") + text.count(r"\addlinespace") <= 4


def test_heads_are_grouped_and_the_caption_stands_alone():
    head = [
        "Method",
        Column("a R@1", "R@1", "a"),
        Column("a R@5", "R@5", "a"),
        Column("b R@1", "R@1", "b"),
    ]
    row = [text_cell("x"), *[percent_cell(0.5)] * 3]
    text = to_latex(table("What.", head, [row], notes=["R@K: a share."]))
    assert r"\multicolumn{2}{c}{a} & \multicolumn{1}{c}{b} \\" in text
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}" in text
    assert r"\caption{What. R@K: a share.}" in text


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-9, 9), min_size=1, max_size=14),
    name=st.text("abcxyz-&%_ 🐶é", min_size=1, max_size=60),
    span=st.sampled_from(["page", "column"]),
    intervals=st.booleans(),
)
def test_no_number_is_shortened_whatever_has_to_go(values, name, span, intervals):
    cells = [percent_cell(value, (value - 1, value + 1)) for value in values]
    columns = ["Method", *(f"m{i}" for i in range(len(values)))]
    text = to_latex(
        table("c", columns, [[text_cell(name), *cells]]), span=span, intervals=intervals
    )
    assert text.count("{") == text.count("}")
    plain = text.replace("$-$", "-")
    assert all(f" {cell.text} " in plain for cell in cells)
    left_out = "% intervals are left out" in text
    assert left_out <= intervals
    assert intervals <= (left_out or all(cell.note in text for cell in cells))
    assert (r"\resizebox" in text) == ("leave columns out" in text)
    assert ("XeLaTeX" in text) == ("🐶" in name)


def test_marks_can_be_left_out(comparison):
    shown = comparison_table(comparison)
    assert r"\dagger" not in to_latex(shown, marks=False)
