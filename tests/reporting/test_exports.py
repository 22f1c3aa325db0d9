import csv
import io
import json
import re

import ir_measures
import polars as pl
import pytest
from numpy.testing import assert_allclose

from dafm_core.comparison.compare import compare
from dafm_core.errors import OptionError
from dafm_core.evaluation.design import Folds
from dafm_core.formats.runs import write_run
from dafm_core.fusion.static import MeanFusion, VotingFusion
from dafm_core.reporting.exports import (
    to_csv,
    to_json,
    to_latex,
    to_markdown,
    write_per_query,
)
from dafm_core.reporting.tables import (
    Cell,
    Table,
    comparison_table,
    difference_table,
    fashioniq_table,
    metric_label,
    p_text,
)


@pytest.fixture
def comparison(make_problem):
    _, stack = make_problem(n_queries=60, n_gallery=40)
    fusers = {"mean": MeanFusion(), "a_b & c|d": VotingFusion()}
    return compare(stack, fusers, design=Folds(3), n_resamples=200)


@pytest.fixture
def record(comparison):
    return comparison.to_json()


def test_csv_has_every_value_of_the_json(record):
    lines = list(csv.DictReader(io.StringIO(to_csv(record))))
    rows = [*record["rows"], record["oracle"]]
    assert len(lines) == sum(len(row["metrics"]) for row in rows)
    for line in lines:
        row = next(row for row in rows if row["name"] == line["row"])
        assert float(line["value"]) == row["metrics"][line["metric"]]["value"]
        difference = row["vs_best_single"].get(line["metric"])
        shown = line["vs_best_single_value"]
        assert (float(shown) if shown else None) == (difference and difference["value"])
    assert len(to_csv(record, record).splitlines()) == 2 * len(lines) + 1  # one heading


def test_markdown_has_a_cell_for_every_column(record):
    lines = to_markdown(comparison_table(record)).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(record["metrics"]) + 3}
    assert r"a\_b & c\|d" in table[6]
    best = max(row["metrics"]["mean"]["value"] for row in record["rows"])
    assert f"**{best:.2f}**" in to_markdown(comparison_table(record))


def test_latex_is_balanced_escaped_and_ruled(record):
    text = to_latex(comparison_table(record), label="tab:one")
    assert r"a\_b \& c|d & " in text
    assert text.count(r"\midrule") == 3  # under the head, before statics, before the oracle
    assert text.count("{") == text.count("}")
    for line in text.splitlines():
        if line.endswith(r"\\"):
            assert len(re.findall(r"(?<!\\)&", line)) == len(record["metrics"]) + 1


def test_json_reads_back_and_refuses_nan(record):
    assert json.loads(to_json(record)) == record
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json({"value": float("inf")})


def test_per_query_parquet_averages_to_the_table(tmp_path, comparison):
    frame = pl.read_parquet(write_per_query(tmp_path / "new" / "p.parquet", comparison.frame))
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


def category(name, values):
    cells = dict(zip(("recall@10", "recall@50", "mean"), values, strict=True))
    metrics = {m: {"value": v, "low": v - 1, "high": v + 1} for m, v in cells.items()}
    row = {"name": "light", "kind": "learned", "metrics": metrics}
    shared = {"n_queries": 9, "n_groups": 9, "design": "as given", "rows": [row]}
    return {"protocol": f"fashioniq-{name}-val-original"} | shared


def test_fashioniq_averages_are_the_papers():
    """DAFM's row of Table 3."""
    records = [
        category("dress", (52.80, 75.81, 64.3)),
        category("shirt", (58.34, 76.55, 67.4)),
        category("toptee", (60.94, 80.42, 70.7)),
    ]
    row = [cell.text for cell in fashioniq_table(records).rows[0]]
    assert row[1:7] == ["52.80", "75.81", "58.34", "76.55", "60.94", "80.42"]
    assert row[7:] == ["57.36", "77.59", "67.48"]


def test_only_categories_of_one_protocol_share_a_table(record):
    with pytest.raises(OptionError, match="Compare alike"):
        fashioniq_table([category("dress", (1, 2, 1.5)), category("dress", (1, 2, 1.5))])
    with pytest.raises(OptionError, match="Compare alike"):
        fashioniq_table([record, category("dress", (1, 2, 1.5))])


def test_differences_are_listed_for_fused_rows_only(record):
    table = difference_table(record, ["mean"])
    assert {row[0].text for row in table.rows} <= {"mean", "a_b & c|d"}
    assert all(row[1].text != row[0].text for row in table.rows)


def test_names_and_small_p_values():
    assert [metric_label(name) for name in ("recall@10", "map@5")] == ["R@10", "mAP@5"]
    assert (p_text(0.0004), p_text(0.0412)) == ("<0.001", "0.041")
    one = Table("c", ("a", "b"), ((Cell("x", "x"), Cell("1.00", 1.0, mark="second")),), ("",))
    assert r"\underline{1.00}" in to_latex(one)
    assert "*1.00*" in to_markdown(one)
