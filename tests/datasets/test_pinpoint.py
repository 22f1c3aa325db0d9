"""PinPoint: two references, images named as wrong, and its metrics by hand."""

import numpy as np
import polars as pl
import pytest

from dafm_core.datasets import pinpoint
from dafm_core.errors import DatasetError
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.metrics.spec import parse_metrics
from dafm_core.metrics.truth import Truth
from dafm_core.scoring.score import score_provider

IDS = [f"{letter}{letter}" for letter in "abcdef"]
ROWS = [
    {
        "query_id": "query_00901",
        "query_image_signature": "aa",
        "query_image_signature2": "None",
        "instruction": "swap the lamp",
        "positive_candidates": ["bb", "cc", "cc"],
        "negative_candidates": ["dd", "dd", "ee", "cc"],
        "query_category": "Swap",
    },
    {
        "query_id": "query_00902",
        "query_image_signature": "aa",
        "query_image_signature2": "ff",
        "instruction": "together?",
        "positive_candidates": ["dd"],
        "negative_candidates": ["aa"],
        "query_category": "Composition",
    },
]


@pytest.fixture
def folder(tmp_path):
    pl.DataFrame(ROWS).write_parquet(tmp_path / "pinpoint_licensed.parquet")
    (tmp_path / "index_signatures.txt").write_text("\n".join(IDS))
    return tmp_path


SCORES = np.array([[0, 4, 2, 5, 3, 1], [5, 4, 3, 2, 1, 0]], np.float32)
"""First query: dd, bb, ee, cc, ff, aa. Second: aa, bb, cc, dd, ee, ff."""


def measured(dataset, *names):
    return Truth.of(dataset).measure(SCORES, parse_metrics(names))


def test_references_and_tags(folder):
    dataset = pinpoint.load(folder)
    assert dataset.protocol == "pinpoint"
    assert dataset.queries["references"].to_list() == [["aa"], ["aa", "ff"]]
    assert not dataset.excluded.counts.any(), "no reference leaves the ranking"
    assert dataset.queries["tags"].to_list()[1] == ["composition", "two references"]
    assert len(set(dataset.groups)) == 1, "both queries show aa"


def test_metrics_by_hand_with_the_published_denominators(folder):
    values = measured(
        pinpoint.load(folder), "precision@2", "recall@2", "map@2", "negrecall@2", "negrecall@4"
    )
    # Of three listed positives one, bb, is among dd, bb: at rank 2. Four negatives are listed.
    np.testing.assert_allclose(values[0], [1 / 2, 1 / 3, (1 / 2) / 2, 1 / 2, 3 / 4])
    np.testing.assert_allclose(values[1], [0, 0, 0, 1, 1])


def test_metrics_by_hand_that_count_an_image_once(folder):
    dataset = pinpoint.load(folder, repeats="once")
    assert dataset.protocol == "pinpoint-once"
    values = measured(dataset, "recall@2", "map@10", "negrecall@10")
    np.testing.assert_allclose(values[0], [1 / 2, (1 / 2 + 2 / 4) / 2, 1])


def test_negatives_leave_the_ranking(folder):
    values = measured(pinpoint.load(folder), "map-noneg@10")[:, 0]
    # First: bb, ff, aa; cc is named as wrong too. Second: bb, cc, dd.
    np.testing.assert_allclose(values, [1 / 3, 1 / 3])


def test_a_store_keeps_negatives_and_their_metrics(folder, tmp_path):
    dataset = pinpoint.load(folder)

    class Fixed:
        references = "any"

        def similarity(self, queries, gallery):
            return SCORES

    store = score_provider(dataset, "one", Fixed(), store=tmp_path / "store")
    assert store.dataset.queries.equals(dataset.queries)
    measured_ = evaluate("one", store.stack(), metrics=["negrecall@2", "map@2"])
    np.testing.assert_allclose(measured_.frame["negrecall@2"], [1 / 2, 1])


def test_other_datasets_have_no_negatives_and_hash_as_before(make_problem):
    dataset, stack = make_problem(n_queries=4)
    with pytest.raises(DatasetError, match="names no negatives"):
        evaluate(stack.names[0], stack, metrics=["negrecall@2"])
    older = dataset.queries.drop("negatives")
    from dafm_core.datasets.query_frame import with_later_columns

    assert with_later_columns(older).equals(dataset.queries)


def test_a_row_without_positives_is_one_line(folder):
    pl.DataFrame([ROWS[0] | {"positive_candidates": ["bb"]}, ROWS[1]]).with_columns(
        positive_candidates=pl.Series([["bb"], []])
    ).write_parquet(folder / "pinpoint_licensed.parquet")
    with pytest.raises(DatasetError, match=r"query 1: expected a positive candidate"):
        pinpoint.load(folder)
