import json

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import AlignmentError, SimilarityError, SubmissionError
from dafm_core.formats.json_lists import read_submission
from dafm_core.formats.lists import ListedScores
from dafm_core.formats.trec import read_trec_run


@pytest.fixture
def dataset():
    rows = [
        {"query_id": "10", "reference": "a", "text": "t", "targets": ["b"], "excluded": ["a"]},
        {"query_id": "11", "reference": "b", "text": "t", "targets": ["c"]},
    ]
    return Dataset(protocol="p", gallery_ids=tuple("abcde"), queries=query_frame(rows, where="f"))


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def frame(*cells):
    return pl.DataFrame(cells, schema=["query_id", "image_id", "score"], orient="row")


def test_cirr_and_circo_files(tmp_path):
    cirr = {"version": "rc2", "metric": "recall", "10": ["b", "c"], "11": ["a"]}
    lists = read_submission(write(tmp_path / "cirr.json", cirr))
    assert (lists.benchmark.name, lists.file.metric) == ("cirr", "recall")
    assert lists.frame().rows() == [("10", "b", -1.0), ("10", "c", -2.0), ("11", "a", -1.0)]
    lists = read_submission(write(tmp_path / "circo.json", {"0": [5, 4], "1": []}))
    assert (lists.benchmark.name, lists.file.metric) == ("circo", None)
    assert lists.frame().rows() == [("0", "5", -1.0), ("0", "4", -2.0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected a JSON object of queries, got list"),
        ({"10": "b"}, "query '10': expected a list of image ids"),
        ({"10": [None]}, "query '10': expected a list of image ids"),
        ({"10": [True]}, "query '10': expected a list of image ids"),
        ({"metric": "recal", "10": []}, "metric 'recal'; did you mean 'recall'"),
        ('{"10": [], "10": []}', "query '10' stands twice"),
        ('{"10": [', "expected JSON"),
    ],
)
def test_malformed_files_are_named(tmp_path, content, message):
    path = write(tmp_path / "file.json", content)
    with pytest.raises(SubmissionError, match=message) as error:
        read_submission(path)
    assert str(path) in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(SubmissionError, match="no such file"):
        read_submission(tmp_path / "nothing.json")


def test_trec_run(tmp_path):
    path = write(tmp_path / "r.trec", "10 Q0 b 1 2.5 me\n\n 10\tQ0  c 2 -1e-3 me\n11 0 a 1 7\n")
    assert read_trec_run(path).rows() == [
        ("10", "b", 1.0, 2.5),
        ("10", "c", 2.0, -0.001),
        ("11", "a", 1.0, 7.0),
    ]


@pytest.mark.parametrize("line", ["10 Q0 b 1 high me", "10 Q0 b 1", "10 Q0 b 1 2 me too", "x"])
def test_bad_trec_lines_are_numbered(tmp_path, line):
    path = write(tmp_path / "r.trec", f"10 Q0 b 1 2 me\n\n{line}\n")
    with pytest.raises(SimilarityError, match=r"line 3: expected 'query Q0 image"):
        read_trec_run(path)


def test_unlisted_candidates_stay_unknown(dataset):
    cells = [("11", "e", 5.0), ("11", "a", 4.0), ("11", "c", 1.0), ("10", "b", 0.25)]
    listed = ListedScores.align(frame(*cells), dataset, where="f")
    nan = np.nan
    assert_array_equal(
        listed.shortlist()[[0, 1]], [[nan, 0.25, nan, nan, nan], [4.0, nan, 1.0, nan, 5.0]]
    )
    assert listed.truncated_at == 1


def test_scores_are_rounded_to_the_dtype_asked_for(dataset):
    cells = [("10", "b", 0.1), ("10", "c", 900.0001), ("11", "a", 0.0)]
    listed = ListedScores.align(frame(*cells), dataset, where="f")
    rounded = np.float16([0.1, 900.0001, 0.0]).astype(np.float32)
    assert_array_equal(listed.shortlist("float16").scores, rounded)
    assert_array_equal(listed.shortlist().scores, np.float32([0.1, 900.0001, 0.0]))


def test_complete_lists_are_not_truncated(dataset):
    cells = [(q, i, float(s)) for q in ("10", "11") for s, i in enumerate("abcde")]
    without_reference = cells[1:]
    for given in (cells, without_reference):
        assert ListedScores.align(frame(*given), dataset, where="f").truncated_at is None
    assert ListedScores.align(frame(*cells[2:]), dataset, where="f").truncated_at == 3


def test_any_order_of_lines_gives_the_same_rows(dataset, rng):
    cells = [(q, i, float(rng.normal())) for q in ("10", "11") for i in "bcd"]
    shuffled = [cells[i] for i in rng.permutation(len(cells))]
    one, other = (ListedScores.align(frame(*c), dataset, where="f") for c in (cells, shuffled))
    assert_array_equal(one.shortlist()[[0, 1]], other.shortlist()[[0, 1]])


@pytest.mark.parametrize(
    ("cells", "error", "message"),
    [
        ([("10", "z", 1.0)], AlignmentError, "f: 1 image ids are unknown to the store, e.g. 'z'"),
        ([("99", "b", 1.0)], AlignmentError, "f: 1 query ids are unknown to the store, e.g. '99'"),
        ([("10", "b", 1.0)], AlignmentError, r"f: no list for query '11' \(1 of 2 are missing\)"),
        ([("10", "b", 1.0)] * 2, AlignmentError, "query '10' lists image 'b' twice"),
        ([("10", "b", float("nan"))], SimilarityError, r"got nan \(query '10', image 'b'\)"),
        ([("10", "b", float("-inf"))], SimilarityError, r"got -inf \(query '10', image 'b'\)"),
    ],
)
def test_bad_lists(dataset, cells, error, message):
    with pytest.raises(error, match=message):
        ListedScores.align(frame(*cells), dataset, where="f")
