"""Rows by query type: what a comparison of those queries alone says, with p over all types."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.comparison.by_type import long_frame
from dafm_core.comparison.compare import compare
from dafm_core.comparison.repeat import repeated
from dafm_core.comparison.type_table import type_table
from dafm_core.fusion.static import MeanFusion, VotingFusion
from dafm_core.ground.statistics import holm

TEXTS = ("without a collar", "two red dogs", "is blue", "on the left side", "nicer")


@pytest.fixture(scope="module")
def stack(make_problem):
    """A stack whose texts are of every type."""
    dataset, stack = make_problem(n_queries=120)
    texts = [TEXTS[i // 4 % len(TEXTS)] for i in range(120)]
    queries = dataset.queries.with_columns(pl.Series("text", texts))
    return replace(stack, dataset=replace(dataset, queries=queries))


@pytest.fixture(scope="module")
def comparison(stack):
    fusers = {"mean": MeanFusion(), "rrf": VotingFusion("rrf")}
    return compare(stack, fusers, n_resamples=300, labels={"mean": "The mean"})


def test_rows_of_a_type_are_those_of_its_queries_compared_alone(stack, comparison):
    """Values and intervals of every metric; differences before they are adjusted."""
    of_type = {found.name: found for found in comparison.by_type}
    assert [*of_type] == ["negation", "count", "colour", "position", "other"]
    own = [q for q, text in zip(stack.query_ids, comparison.texts, strict=True) if "collar" in text]
    fusers = {"mean": MeanFusion(), "rrf": VotingFusion("rrf")}
    alone = compare(stack.take_queries(own), fusers, n_resamples=300)
    assert of_type["negation"].n_queries == len(own) == 24
    assert of_type["negation"].n_groups == alone.n_groups == 6
    for row in of_type["negation"].rows:
        expected = alone.row(row.name)
        assert row.metrics == expected.metrics
        for against in ("vs_best_single", "vs_best_static", "vs_best"):
            raw = {m: replace(d, p_holm=0) for m, d in getattr(row, against).items()}
            other = getattr(expected, against).get("mean")
            assert raw == ({"mean": replace(other, p_holm=0)} if other else {})


def test_p_is_adjusted_over_all_types_and_rows(comparison):
    found = [
        row.vs_best_single["mean"]
        for of_type in comparison.by_type
        for row in of_type.rows
        if row.vs_best_single
    ]
    assert len(found) == 5 * 2
    expected = holm([difference.p_value for difference in found])
    np.testing.assert_array_equal([difference.p_holm for difference in found], expected)


def test_a_type_of_one_group_is_left_out(stack):
    texts = ["nicer"] * 116 + ["two of them"] * 4
    queries = stack.dataset.queries.with_columns(pl.Series("text", texts))
    dataset = replace(stack.dataset, queries=queries)
    found = compare(replace(stack, dataset=dataset), {"mean": MeanFusion()}, n_resamples=50)
    assert [of_type.name for of_type in found.by_type] == ["other"]
    assert found.frame["query_types"].to_list()[-1] == ["count"]


def test_the_table_is_best_first_and_says_how_often_types_are_right(comparison):
    found = type_table(comparison)
    assert found.names == (
        "Method",
        "all (120)",
        "negation (24)",
        "count (24)",
        "colour (48)",
        "position (24)",
        "other (24)",
    )
    names = [row[0].text for row in found.rows]
    assert names[-2:] in (["The mean", "rrf"], ["rrf", "The mean"])
    assert all(cell.note for row in found.rows for cell in row[1:])
    assert "position 22 of 25" in found.notes[0]
    for place, of_type in enumerate(comparison.by_type, start=2):
        best = max(cell.value for cell in (row[place] for row in found.rows))
        assert best == pytest.approx(100 * max(r.metrics["mean"].value for r in of_type.rows))


def test_json_and_frame_hold_every_number(comparison):
    record = comparison.to_json()["by_type"]
    frame = long_frame(comparison.by_type)
    assert frame.height == 5 * len(comparison.rows) * (len(comparison.metrics) + 1)
    for of_type in record:
        for row in of_type["rows"]:
            for metric, cell in row["metrics"].items():
                line = frame.row(
                    by_predicate=(pl.col("type") == of_type["name"])
                    & (pl.col("row") == row["name"])
                    & (pl.col("metric") == metric),
                    named=True,
                )
                assert {key: line[key] for key in cell} == cell


def test_a_file_from_before_query_types_can_be_repeated(comparison):
    now = comparison.to_json()
    before = {key: value for key, value in now.items() if key != "by_type"}
    found = repeated(before, now)
    assert found.agrees
    assert found.changed == ("not compared: by_type, which the file does not have",)
    both = repeated({"comparisons": [before]}, {"comparisons": [now]})
    assert (both.agrees, both.changed) == (True, found.changed)
    assert not repeated(now, before).agrees
