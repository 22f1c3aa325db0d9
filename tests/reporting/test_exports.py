import csv
import io
import json
import math
import re

import ir_measures
import polars as pl
import pytest
from numpy.testing import assert_allclose

from dafm_core.comparison.compare import compare
from dafm_core.comparison.tables import comparison_table, difference_table
from dafm_core.errors import OptionError
from dafm_core.evaluation.design import Folds
from dafm_core.formats.runs import write_run
from dafm_core.fusion.static import MeanFusion, VotingFusion
from dafm_core.reporting.exports import (
    csv_text,
    table_csv,
    to_csv,
    to_markdown,
    write_frame,
    write_json,
    write_text,
)
from dafm_core.reporting.latex import to_latex
from dafm_core.tables.cells import Cell, percent_cell, table, text_cell


@pytest.fixture
def comparison(make_problem):
    _, stack = make_problem(n_queries=60, n_gallery=40)
    fusers = {"mean": MeanFusion(), "a_b & c|d": VotingFusion()}
    return compare(stack, fusers, design=Folds(3), n_resamples=200)


@pytest.fixture
def record(comparison):
    return comparison.to_json()


def test_csv_has_every_value_of_the_json(comparison, record):
    lines = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    rows = [*record["rows"], record["oracle"]]
    assert len(lines) == sum(len(row["metrics"]) for row in rows)
    for line in lines:
        row = next(row for row in rows if row["name"] == line["row"])
        assert float(line["value"]) == row["metrics"][line["metric"]]["value"]
        difference = row["vs_best_single"].get(line["metric"])
        shown = line["vs_best_single_value"]
        assert (float(shown) if shown else None) == (difference and difference["value"])
    assert len(to_csv(comparison, comparison).splitlines()) == 2 * len(lines) + 1  # one heading


def test_markdown_has_a_cell_for_every_column(comparison):
    lines = to_markdown(comparison_table(comparison)).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(comparison.metrics) + 3}
    assert r"a\_b & c\|d" in table[6]
    best = max(row.metrics["mean"].value for row in comparison.rows)
    assert f"**{100 * best:.2f}**" in to_markdown(comparison_table(comparison))


def test_json_reads_back_and_refuses_nan(tmp_path, record):
    path = write_json(tmp_path / "new" / "c.json", record)
    assert json.loads(path.read_text()) == record
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"value": float("inf")})
    assert json.loads(path.read_text()) == record  # what was there is still there


@pytest.mark.parametrize("write", [write_text, write_json, write_frame])
@pytest.mark.parametrize("goal", ["taken/file", "folder", "."])
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, write, goal):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    (tmp_path / "folder").mkdir()
    content = pl.DataFrame({"a": [1]}) if write is write_frame else "text"
    with pytest.raises(OptionError, match=r"cannot be written|expected the name of a file"):
        write(goal, content)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "taken"]


def test_a_spreadsheet_computes_nothing(tmp_path):
    texts = ["=1+1", "+1", "-more red", "@a", "\t=1", "'quoted", "a=b", ""]
    frame = pl.DataFrame({"text": texts, "change": [-1.5 + i for i in range(8)]})
    read = list(csv.DictReader(io.StringIO(csv_text(frame), newline="")))
    assert [line["text"] for line in read] == [f"'{text}" for text in texts[:5]] + texts[5:]
    assert [float(line["change"]) for line in read] == frame["change"].to_list()


def test_per_query_parquet_averages_to_the_table(tmp_path, comparison):
    frame = pl.read_parquet(write_frame(tmp_path / "new" / "p.parquet", comparison.frame))
    means = frame.group_by("row").agg(pl.col(*comparison.metrics).mean())
    for row in comparison.rows:
        found = means.filter(row=row.name).select(comparison.metrics).row(0)
        assert_allclose(found, [row.metrics[m].value for m in comparison.metrics])


def test_other_tools_read_our_runs_and_agree(tmp_path, make_problem):
    import ranx

    dataset, stack = make_problem(n_queries=30, n_gallery=40)
    mean = MeanFusion(normalize="zscore").fit(stack)
    run = mean.fuse(stack)
    path = write_run(
        tmp_path / "run.trec",
        [(run.query_ids, run.scores)],
        query_ids=run.query_ids,
        gallery_ids=run.gallery_ids,
        depth=40,
    )
    targets = dict(zip(dataset.query_ids, dataset.queries["targets"].to_list(), strict=True))
    qrels = {query: dict.fromkeys(ids, 1) for query, ids in targets.items()}
    ours = compare(stack, {"mean": mean}, metrics=["recall@5", "mrr"], n_resamples=50)
    expected = [ours.row("mean").metrics[m].value for m in ours.metrics]
    found = ir_measures.calc_aggregate(
        [ir_measures.R @ 5, ir_measures.RR], qrels, ir_measures.read_trec_run(str(path))
    )
    assert_allclose([found[ir_measures.R @ 5], found[ir_measures.RR]], expected)
    with_ranx = ranx.evaluate(
        ranx.Qrels(qrels), ranx.Run.from_file(str(path), kind="trec"), ["recall@5", "mrr"]
    )
    assert_allclose([with_ranx["recall@5"], with_ranx["mrr"]], expected)


def test_differences_are_listed_for_fused_rows_only(comparison):
    table = difference_table(comparison.rows, ["mean"])
    assert {row[0].text for row in table.rows} <= {"mean", "a_b & c|d"}
    assert all(row[1].text != row[0].text for row in table.rows)


def test_a_share_is_shown_in_percent_and_sorted_unrounded():
    cell = percent_cell(0.123456, (0.1, 0.2))
    assert (cell.text, cell.note) == ("12.35", "[10.00, 20.00]")
    assert cell.value == pytest.approx(12.3456)
    assert percent_cell(-0.01, (-0.02, 0.0), signed=True).note == "[-2.00, +0.00]"


def test_marks_are_shown_in_every_format():
    one = table("c", ["a", "b"], [[Cell("x", "x"), Cell("1.00", 1.0, mark="tied", signs=("†",))]])
    assert r"\underline{1.00}\rlap{$^{\dagger}$}" in to_latex(one)
    assert "*1.00*†" in to_markdown(one)
    for text in (to_latex(one), to_markdown(one), one._repr_html_()):
        assert "not clearly behind the best" in text
        assert "clearly better than the best single model" in text


def test_a_table_as_csv_has_unrounded_numbers_and_intervals_beside_them():
    cells = [text_cell("=x"), percent_cell(0.123456, (0.1, 0.2)), percent_cell(math.nan)]
    read = list(csv.DictReader(io.StringIO(table_csv(table("c", ["a", "b", "d"], [cells])))))
    assert read == [{"a": "'=x", "b": "12.3456", "b low": "10.0", "b high": "20.0", "d": ""}]
