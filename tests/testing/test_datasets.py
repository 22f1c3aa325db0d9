"""The checks of datasets: what is whole passes, and each fault is named by the check for it."""

from dataclasses import replace

import polars as pl
import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.testing import check_dataset


def failed(load):
    return {r.name: r.message for r in check_dataset(load) if r.outcome == "failed"}


def test_a_dataset_that_is_whole_passes(make_problem):
    dataset, _ = make_problem()
    assert not failed(lambda: dataset)


def test_the_embedded_dataset_passes_with_its_images():
    results = check_dataset(
        lambda: PluginCatalog.discover().load_dataset("scenes", options={"families": "24"})
    )
    assert not [result for result in results if result.outcome != "passed"]


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ({"protocol": "Toy Val"}, "protocol"),
        ({"metrics": ("recall@1", "recal@5")}, "metrics"),
        ({"metrics": ()}, "metrics"),
        ({"targets": [["nowhere"]]}, "problems"),
        ({"group": "one"}, "splits"),
        ({"references": [[]], "text": " "}, "asks"),
        ({"query_id": "q\u202e"}, "ids"),
    ],
)
def test_a_fault_is_named(fault, check, make_problem):
    dataset, _ = make_problem()
    queries = dataset.queries
    for column, value in fault.items():
        if column not in queries.columns:
            dataset = replace(dataset, **{column: value})
        elif column == "query_id":
            queries = queries.with_columns(pl.col(column) + value[1:])
        else:
            new = pl.Series(column, [value[0] if isinstance(value, list) else value])
            new = new.extend_constant(None, 0)
            queries = queries.with_columns(
                pl.Series(column, new.to_list() * dataset.n_queries, dtype=queries.schema[column])
            )
    dataset = replace(dataset, queries=queries)
    assert check in failed(lambda: dataset)


def test_another_order_at_the_second_reading_is_noticed(make_problem):
    dataset, _ = make_problem()
    orders = iter([dataset.query_ids, dataset.query_ids[::-1]])
    assert "read_twice" in failed(lambda: dataset.take(next(orders)))


def test_a_split_without_targets_is_checked_for_what_it_has(make_problem):
    dataset, _ = make_problem()
    nothing = pl.Series("targets", [[]] * dataset.n_queries, dtype=pl.List(pl.String))
    blind = replace(dataset, queries=dataset.queries.with_columns(nothing))
    assert not failed(lambda: blind)


def test_a_file_that_is_no_image_is_noticed(make_problem, tmp_path):
    dataset, _ = make_problem()
    (tmp_path / "a.png").write_text("no picture")
    wrong = replace(dataset, images={dataset.gallery_ids[0]: tmp_path / "a.png"})
    assert "images" in failed(lambda: wrong)
