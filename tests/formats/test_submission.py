import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dafm_core.datasets import cirr
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.benchmarks import BENCHMARKS
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import AlignmentError, OptionError, SimilarityError, SubmissionError
from dafm_core.evaluation.evaluate import evaluate_run
from dafm_core.evaluation.score_file import score_submission
from dafm_core.formats.json_lists import read_submission
from dafm_core.formats.lint import Lint, lint_submission
from dafm_core.formats.submission import rank, run_blocks, write_submission
from dafm_core.fusion.best import Best
from dafm_core.ground.ordering import tie_places
from dafm_core.store.run import Run

SHARED = Path(os.environ.get("DAFM_SHARED", "../shared")) / "data" / "cirr"
needs_data = pytest.mark.skipif(
    not SHARED.exists(), reason=f"{SHARED} (set DAFM_SHARED) is not there"
)
N_GALLERY = 70


def make(benchmark, n_queries=5):
    prefix = "g" if benchmark == "cirr" else ""
    gallery = tuple(f"{prefix}{i}" for i in range(N_GALLERY))
    subset = {"subset": list(gallery[:6])} if benchmark == "cirr" else {}
    targets = gallery[2:3] if benchmark == "cirr" else gallery[2:60:7]
    rows = [
        {"query_id": str(i), "reference": gallery[0], "text": "t", "targets": list(targets)}
        | {"excluded": [gallery[0]]}
        | subset
        for i in range(n_queries)
    ]
    metrics = cirr.METRICS if subset else ("map@5", "map@10", "recall@50", "recall@100", "mrr")
    queries = query_frame(rows, where="f")
    return Dataset(
        protocol=f"{benchmark}-val", gallery_ids=gallery, queries=queries, metrics=metrics
    )


def make_run(dataset, rng):
    scores = rng.normal(size=(dataset.n_queries, dataset.n_gallery)).astype(np.float32)
    scores[dataset.excluded.rows, dataset.excluded.values] = -np.inf
    return Run("r", dataset.query_ids, dataset.gallery_ids, scores)


@pytest.fixture
def dataset():
    return make("cirr")


@pytest.fixture
def run(dataset, rng):
    return make_run(dataset, rng)


def write(path, run, dataset, metric="recall"):
    return write_submission(
        path, dataset, run_blocks(run), gallery_ids=run.gallery_ids, metric=metric
    )


def naive(scores, ids, depth):
    """Sort the ids of one row by score, without ties."""
    return [ids[i] for i in sorted(range(len(ids)), key=lambda i: -scores[i])][:depth]


def test_cirr_recall_file(tmp_path, dataset, run):
    content = json.loads(write(tmp_path / "out" / "recall.json", run, dataset).read_text())
    assert (content.pop("version"), content.pop("metric")) == ("rc2", "recall")
    assert list(content) == list(dataset.query_ids)
    for row, query in enumerate(dataset.query_ids):
        assert content[query] == naive(run.scores[row, 1:], run.gallery_ids[1:], 50)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["recall.json"]


def test_cirr_subset_file(tmp_path, dataset, run):
    content = json.loads(write(tmp_path / "s.json", run, dataset, "recall_subset").read_text())
    assert (content.pop("version"), content.pop("metric")) == ("rc2", "recall_subset")
    for row, query in enumerate(dataset.query_ids):
        assert content[query] == naive(run.scores[row, 1:6], run.gallery_ids[1:6], 3)


def test_circo_file(tmp_path, rng):
    dataset = make("circo")
    run = make_run(dataset, rng)
    content = json.loads(write(tmp_path / "c.json", run, dataset, None).read_text())
    assert list(content) == list(dataset.query_ids)
    expected = naive(run.scores[0, 1:], run.gallery_ids[1:], 50)
    assert content["0"] == [int(i) for i in expected]


def test_blocks_and_the_order_of_the_gallery_change_nothing(dataset, run, rng):
    order = rng.permutation(N_GALLERY)
    scores = np.round(run.scores, 1)  # with ties
    whole = rank([(run.query_ids, scores)], dataset, gallery_ids=run.gallery_ids, depth=50)
    blocks = [(run.query_ids[i : i + 2], scores[i : i + 2, order]) for i in (4, 0, 2)]
    gallery = [run.gallery_ids[i] for i in order]
    assert rank(blocks, dataset, gallery_ids=gallery, depth=50) == whole
    assert list(whole) == list(dataset.query_ids)


def test_lists_are_ranked_as_the_rows_they_are_of(dataset, run):
    deep = Best.of_scores(run.scores, tie_places(run.gallery_ids), 60)
    found = rank([(run.query_ids, deep)], dataset, gallery_ids=run.gallery_ids, depth=50)
    assert found == rank(
        [(run.query_ids, run.scores)], dataset, gallery_ids=run.gallery_ids, depth=50
    )


def test_a_constant_scorer_gets_chance_from_the_order_of_ties(rng):
    """Were ties in gallery order, its neighbours would be found; a hash knows nothing of them."""
    dataset = make("cirr", n_queries=1)
    scores = np.zeros((1, N_GALLERY), np.float32)
    ranked = rank([(["0"], scores)], dataset, gallery_ids=dataset.gallery_ids, depth=69)["0"]
    assert sorted(ranked) == sorted(dataset.gallery_ids[1:])
    places = np.array([int(name[1:]) for name in ranked])
    assert abs(np.corrcoef(places, np.arange(69))[0, 1]) < 0.25


@pytest.mark.parametrize("metric", ["recall", "recall_subset"])
def test_a_written_val_file_measures_as_its_scores_do(tmp_path, dataset, run, metric):
    path = write(tmp_path / "f.json", run, dataset, metric)
    from_file = score_submission(path, dataset)
    family = "recall@" if metric == "recall" else "rsubset@"
    assert from_file.metrics == tuple(m for m in cirr.METRICS if m.startswith(family))
    from_scores = evaluate_run(run, dataset, metrics=from_file.metrics)
    assert from_file.frame.equals(from_scores.frame)


def test_a_circo_val_file_measures_as_the_server_does(tmp_path, rng):
    """AP@K is the sum of precisions at hits over min(K, targets), as in the published script."""
    dataset = make("circo")
    run = make_run(dataset, rng)
    evaluation = score_submission(write(tmp_path / "c.json", run, dataset, None), dataset)
    assert evaluation.metrics == ("map@5", "map@10", "recall@50")
    lists = read_submission(tmp_path / "c.json").lists
    for k in (5, 10):
        expected = []
        for query, targets in zip(dataset.query_ids, dataset.queries["targets"], strict=True):
            hits = np.isin(lists[query], targets.to_list())
            precision = np.cumsum(hits) * hits / np.arange(1, 51)
            expected.append(precision[:k].sum() / min(k, len(targets)))
        assert_allclose(evaluation.frame[f"map@{k}"], expected, atol=1e-12)


def test_bad_scores_write_nothing(tmp_path, dataset, run):
    path = tmp_path / "f.json"
    write(path, run, dataset)
    before = path.read_bytes()
    run.scores[3, 4] = np.nan
    with pytest.raises(SimilarityError, match="query '3' has a NaN score"):
        write(path, run, dataset)
    few = Run("r", run.query_ids[:2], run.gallery_ids, run.scores[:2])
    with pytest.raises(AlignmentError, match=r"no scores for query '2' \(3 missing\)"):
        write(path, few, dataset)
    twice = Run("r", ("0", "0"), run.gallery_ids, run.scores[:2])
    with pytest.raises(AlignmentError, match="query '0' stands twice"):
        write(path, twice, dataset)
    with pytest.raises(AlignmentError, match="query '9' is not in cirr-val"):
        write(path, Run("r", ("9",), run.gallery_ids, run.scores[:1]), dataset)
    with pytest.raises(AlignmentError, match="the scores' gallery of 69 is not cirr-val's of 70"):
        write(path, Run("r", run.query_ids, run.gallery_ids[1:], run.scores[:, 1:]), dataset)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_server_would_reject_is_not_written(tmp_path, run, dataset, monkeypatch):
    small = replace(BENCHMARKS["cirr"], max_bytes=1000)
    monkeypatch.setattr("dafm_core.datasets.benchmarks.BENCHMARKS", {"cirr": small})
    with pytest.raises(SubmissionError, match=r"not written: 0\.0 MB: the server takes less"):
        write(tmp_path / "f.json", run, dataset)
    assert list(tmp_path.iterdir()) == []


def test_unknown_metric_and_protocol(tmp_path, dataset, run):
    with pytest.raises(
        OptionError, match="cirr metric 'recall-subset'; did you mean 'recall_subset'"
    ):
        write(tmp_path / "f.json", run, dataset, "recall-subset")
    with pytest.raises(OptionError, match="cirr metric None"):
        write(tmp_path / "f.json", run, dataset, None)
    rows = [{"query_id": "q", "reference": "a", "text": "t"}]
    other = Dataset(protocol="scenes-val", gallery_ids=("a",), queries=query_frame(rows, where="f"))
    with pytest.raises(SubmissionError, match="scenes-val has no test server"):
        write(tmp_path / "f.json", run, other)


LINT = {
    "fine": (lambda c: c, []),
    "version": (lambda c: c | {"version": "rc1"}, ["'version' is 'rc1', not 'rc2'"]),
    "no-version": (lambda c: {k: v for k, v in c.items() if k != "version"}, ["'version' is None"]),
    "metric": (lambda c: c | {"metric": "recall@5"}, ["'metric' is 'recall@5', not"]),
    "short": (lambda c: c | {"3": c["3"][:-1]}, ["1 lists have not 50 ids: '3'"]),
    "long": (
        lambda c: c | {"3": [*c["3"], "g0"]},
        ["not 50 ids", "excluded image (the reference)"],
    ),
    "twice": (lambda c: c | {"3": [*c["3"][:-1], c["3"][0]]}, ["1 lists name an image twice: '3'"]),
    "unknown": (lambda c: c | {"3": [*c["3"][:-1], "x"]}, ["1 lists name an image that is not in"]),
    "numbers": (lambda c: c | {"3": [*c["3"][:-1], 5]}, ["are no str", "not in the gallery"]),
    "no-list": (lambda c: c | {"3": "g1", "4": None}, ["2 queries have no list: '3', '4'"]),
    "missing": (lambda c: {k: v for k, v in c.items() if k not in "34"}, ["2 queries are missing"]),
    "pair": (lambda c: c | {"99": c["3"]}, ["1 keys are no query of this split: '99'"]),
}


@pytest.mark.parametrize(("change", "findings"), LINT.values(), ids=LINT)
def test_lint_of_a_recall_file(tmp_path, dataset, run, change, findings):
    path = write(tmp_path / "f.json", run, dataset)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    lint = lint_submission(path, dataset)
    found = [*lint.errors, *lint.warnings]
    assert len(found) == len(findings)
    assert all(want in got for want, got in zip(findings, found, strict=True))
    assert ("excluded" in " ".join(lint.warnings)) == ("excluded" in " ".join(findings))


def test_lint_of_a_subset_file(tmp_path, dataset, run):
    path = write(tmp_path / "f.json", run, dataset, "recall_subset")
    assert lint_submission(path, dataset) == Lint()
    content = json.loads(path.read_text()) | {"1": ["g1", "g2", "g9"], "2": ["g1", "g2"]}
    path.write_text(json.dumps(content))
    assert lint_submission(path, dataset).errors == (
        "1 lists name an image outside the query's subset: '1'",
        "1 lists have not 3 ids: '2'",
    )


def test_lint_of_a_circo_file(tmp_path, rng):
    dataset = make("circo")
    path = write(tmp_path / "f.json", make_run(dataset, rng), dataset, None)
    assert lint_submission(path, dataset) == Lint()
    content = json.loads(path.read_text())
    content["0"] = [str(i) for i in content["0"]]  # the server reads them as numbers
    content["1"] = [f"{i}.jpg" for i in content["1"]]
    path.write_text(json.dumps(content | {"version": "rc2"}))
    assert lint_submission(path, dataset).errors == (
        "1 keys are no query of this split: 'version'",
        "1 lists hold ids that are no int: '1'",
        "1 lists name an image that is not in the gallery: '1'",
    )


def test_lint_of_a_large_file_and_of_repeated_keys(tmp_path, dataset, run):
    path = write(tmp_path / "f.json", run, dataset)
    text = path.read_text()
    path.write_text(text[:-1] + ',"4":' + json.dumps(json.loads(text)["4"]) + " " * 5_000_000 + "}")
    assert lint_submission(path, dataset).errors == (
        "key '4' stands twice",
        "5.0 MB: the server takes less than 5 MB",
    )
    with pytest.raises(SubmissionError, match="no such file"):
        lint_submission(tmp_path / "no.json", dataset)


@needs_data
def test_published_test1_files(tmp_path, rng):
    dataset = cirr.load(SHARED, split="test1")
    scores = rng.normal(size=(dataset.n_queries, dataset.n_gallery)).astype(np.float32)
    run = Run("r", dataset.query_ids, dataset.gallery_ids, scores)
    for metric, size in (("recall", 50), ("recall_subset", 3)):
        path = write(tmp_path / f"{metric}.json", run, dataset, metric)
        assert lint_submission(path, dataset) == Lint()
        lists = read_submission(path).lists
        assert len(lists) == 4148
        assert {len(ids) for ids in lists.values()} == {size}
    assert (tmp_path / "recall.json").stat().st_size < 5_000_000


@needs_data
def test_a_published_val_file_measures_as_its_scores_do(tmp_path, rng):
    dataset = cirr.load(SHARED)
    scores = rng.normal(size=(dataset.n_queries, dataset.n_gallery)).astype(np.float32)
    scores[dataset.targets.rows, dataset.targets.values] += 2
    run = Run("r", dataset.query_ids, dataset.gallery_ids, scores)
    run.scores[dataset.excluded.rows, dataset.excluded.values] = -np.inf
    for metric in ("recall", "recall_subset"):
        found = score_submission(write(tmp_path / "f.json", run, dataset, metric), dataset)
        assert found.frame.equals(evaluate_run(run, dataset, metrics=found.metrics).frame)
