"""A file measured before its upload: by the metrics it decides, by id, on a split with targets."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.datasets import cirr
from dafm_core.errors import (
    AlignmentError,
    DatasetError,
    LeakageError,
    OptionError,
    SubmissionError,
)
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.evaluation.score_file import score_submission, score_submissions
from dafm_core.formats.submission import fuser_blocks, write_submission
from dafm_core.fusion.static import MeanFusion

FILES = ("recall", "recall_subset")


@pytest.fixture
def stack(make_problem):
    """CIRR's metrics over a gallery that is larger than its lists are deep."""
    _, stack = make_problem(n_queries=40, n_gallery=70, noise=(2.0, 3.0))
    return replace(stack, dataset=replace(stack.dataset, protocol="cirr-val", metrics=cirr.METRICS))


def write(path, stack, metric="recall"):
    blocks = fuser_blocks(MeanFusion(), stack)
    return write_submission(
        path, stack.dataset, blocks, gallery_ids=stack.gallery_ids, metric=metric
    )


@pytest.mark.parametrize("metric", ["recall", "recall_subset"])
def test_a_file_measures_as_the_fusion_it_was_written_by(tmp_path, stack, metric):
    from_file = score_submission(write(tmp_path / "f.json", stack, metric), stack.dataset)
    family = "recall@" if metric == "recall" else "rsubset@"
    assert from_file.metrics == tuple(m for m in cirr.METRICS if m.startswith(family))
    from_scores = evaluate(MeanFusion(), stack, metrics=from_file.metrics)
    assert from_file.frame.equals(from_scores.frame)
    assert from_file.name == "f.json"


def test_queries_are_found_by_id(tmp_path, stack):
    path = write(tmp_path / "f.json", stack)
    part = stack.dataset.take(stack.query_ids[::-1])
    found = score_submission(path, part)
    assert found.frame["query_id"].to_list() == list(part.query_ids)
    whole = score_submission(path, stack.dataset)
    assert found.frame.sort("query_id").equals(whole.frame.sort("query_id"))


def test_a_metric_deeper_than_the_file_is_left_out(tmp_path, stack):
    path = write(tmp_path / "f.json", stack)
    deep = replace(stack.dataset, metrics=("recall@50", "recall@51", "mrr"))
    assert score_submission(path, deep).metrics == ("recall@50",)
    with pytest.raises(SubmissionError, match=r"f\.json: decides none of mrr, rsubset@1"):
        score_submission(path, replace(stack.dataset, metrics=("mrr", "rsubset@1")))


def test_what_cannot_be_measured_is_refused(tmp_path, stack):
    path = write(tmp_path / "f.json", stack)
    content = json.loads(path.read_text())
    del content["q7"]
    (tmp_path / "short.json").write_text(json.dumps(content))
    with pytest.raises(AlignmentError, match="q7"):
        score_submission(tmp_path / "short.json", stack.dataset)
    nothing = pl.Series("targets", [[]] * 40, dtype=pl.List(pl.String))
    blind = replace(stack.dataset, queries=stack.dataset.queries.with_columns(nothing))
    with pytest.raises(DatasetError, match="query 'q0' has no target"):
        score_submission(path, blind)
    (tmp_path / "bad.json").write_text("[")
    with pytest.raises(SubmissionError, match=r"bad\.json"):
        score_submission(tmp_path / "bad.json", stack.dataset)


def test_a_file_of_training_queries_is_refused(tmp_path, stack):
    blocks = fuser_blocks(MeanFusion().fit(stack), stack)
    path = write_submission(
        tmp_path / "f.json", stack.dataset, blocks, gallery_ids=stack.gallery_ids, metric="recall"
    )
    with pytest.raises(LeakageError, match=r"f\.json.* 40 of 40"):
        score_submission(path, stack.dataset)
    assert score_submission(path, stack.dataset, allow_fitted=True).metrics


def test_a_listed_reference_takes_a_place_as_it_does_on_the_server(tmp_path, stack):
    """With the reference put first, the first K hold what the first K - 1 held."""
    path = write(tmp_path / "f.json", stack)
    metrics = ("recall@4", "recall@5", "recall@9", "recall@10")
    dataset = replace(stack.dataset, metrics=metrics)
    before = score_submission(path, dataset)
    content = json.loads(path.read_text())
    references = dict(dataset.queries.select("query_id", "references").iter_rows())
    for query in stack.query_ids:
        content[query] = [*references[query], *content[query][:-1]]
    path.write_text(json.dumps(content))
    after = score_submission(path, dataset)
    for one_more, one_less in (("recall@5", "recall@4"), ("recall@10", "recall@9")):
        np.testing.assert_array_equal(after.frame[one_more], before.frame[one_less])


def test_both_files_together_have_the_mean_of_their_metrics(tmp_path, stack):
    paths = [write(tmp_path / f"{metric}.json", stack, metric) for metric in FILES]
    both = score_submissions(paths, stack.dataset)
    assert both.metrics == cirr.METRICS
    assert both.frame.equals(evaluate(MeanFusion(), stack).frame)
    with pytest.raises(OptionError, match=r"decides recall@1, as recall\.json does"):
        score_submissions([paths[0], paths[0]], stack.dataset)
