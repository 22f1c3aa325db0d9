"""Files hold what was fused, best first, whatever the format."""

import numpy as np
import polars as pl
import pytest

from dafm_core.errors import OptionError
from dafm_core.formats.runs import write_run
from dafm_core.ground.ordering import best_first, tie_places

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


def test_ties_do_not_follow_the_gallery_order():
    ids = [f"img{i}" for i in range(50)]
    flat = np.zeros(50, np.float32)
    there = [ids[i] for i in best_first(flat, tie_places(ids), 10)]
    back = [ids[::-1][i] for i in best_first(flat, tie_places(ids[::-1]), 10)]
    assert there == back
    assert there != ids[:10]


def test_the_best_of_a_row_are_those_of_a_full_sort(rng):
    ids = [f"img{i}" for i in range(40)]
    scores = rng.integers(0, 9, 40).astype(np.float32)
    places = tie_places(ids)
    expected = sorted(range(40), key=lambda i: (-scores[i], places[i]))
    for depth in (1, 7, 40, 99):
        assert best_first(scores, places, depth).tolist() == expected[:depth]


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
