"""Files hold what was fused, best first, whatever the format."""

import numpy as np
import polars as pl
import pytest

from dafm_core.errors import OptionError
from dafm_core.formats.runs import write_run

QUERIES, GALLERY = ("q0", "q1", "q2"), ("a", "b", "c", "d")
SCORES = np.array([[1, 3, 2, -np.inf], [0, 0, 0, 0], [-3, -1, -2, -4]], np.float32)


def write(path, **options):
    blocks = [(QUERIES[:2], SCORES[:2]), (QUERIES[2:], SCORES[2:])]
    return write_run(path, blocks, query_ids=QUERIES, gallery_ids=GALLERY, **options)


def test_a_matrix_is_whole_and_names_its_rows_and_columns(tmp_path):
    path = write(tmp_path / "new" / "run.npy")
    np.testing.assert_array_equal(np.load(path), SCORES)
    assert (tmp_path / "new" / "run.queries.txt").read_text().split() == list(QUERIES)
    assert (tmp_path / "new" / "run.gallery.txt").read_text().split() == list(GALLERY)


def test_lists_are_best_first_and_without_excluded_candidates(tmp_path):
    frame = pl.read_parquet(write(tmp_path / "run.parquet", depth=3))
    lists = dict(frame.group_by("query_id", maintain_order=True).agg("image_id").iter_rows())
    assert lists["q0"] == ["b", "c", "a"]
    assert lists["q2"] == ["b", "c", "a"]
    assert len(lists["q1"]) == 3
    assert frame["rank"].to_list() == [1, 2, 3] * 3


def test_a_trec_run_reads_back(tmp_path):
    lines = write(tmp_path / "run.trec", name="light", depth=2).read_text().splitlines()
    assert lines[0] == "q0 Q0 b 1 3 light"
    assert len(lines) == 6
    lines = write(tmp_path / "run.trec", name="my model\udcff").read_text().splitlines()
    assert lines[0] == "q0 Q0 b 1 3 my-model\\udcff", "one word"


@pytest.mark.parametrize(
    ("file", "options", "said"),
    [
        ("run.csv", {}, "no format '.csv'"),
        ("run.trec", {"depth": 0}, "depth of at least 1"),
    ],
)
def test_wrong_requests_are_said_and_leave_nothing(tmp_path, file, options, said):
    with pytest.raises(OptionError, match=said):
        write(tmp_path / file, **options)
    assert list(tmp_path.iterdir()) == []


def test_ids_with_spaces_do_not_become_a_broken_trec_run(tmp_path):
    with pytest.raises(OptionError, match="cannot hold the id 'a b'"):
        write_run(
            tmp_path / "x.trec",
            [(["q"], np.zeros((1, 1), np.float32))],
            query_ids=["q"],
            gallery_ids=["a b"],
        )


@pytest.mark.parametrize("name", ["a\nb", " a", "", "\ufeffa"])
def test_ids_that_a_list_would_change_are_refused(tmp_path, name):
    with pytest.raises(OptionError, match="a list of ids cannot hold"):
        write_run(
            tmp_path / "x.npy",
            [(["q"], np.zeros((1, 1), np.float32))],
            query_ids=["q"],
            gallery_ids=[name],
        )
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_files_as_they_were(tmp_path):
    write(tmp_path / "run.npy")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def broken():
        yield QUERIES[:1], SCORES[:1]
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        write_run(
            tmp_path / "run.npy", broken(), query_ids=QUERIES, gallery_ids=("x", *GALLERY[1:])
        )
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
