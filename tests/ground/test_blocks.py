"""Killing and resuming loses at most one block and changes no byte."""

import numpy as np
import pytest

from dafm_core.errors import StoreError
from dafm_core.ground.blocks import BlockFile, checksum

ROWS = np.arange(20, dtype=np.float32).reshape(10, 2)


def make(path, *, identity="a", restart=False):
    return BlockFile(path, n_rows=10, block_rows=4, identity={"model": identity}, restart=restart)


def fill(file):
    for start, stop in file.pending():
        file.write(start, ROWS[start:stop])
    file.commit()
    file.forget()


def test_blocks_cover_all_rows_once(tmp_path):
    assert make(tmp_path / "x.npy").pending() == [(0, 4), (4, 8), (8, 10)]


def test_the_finished_file_is_plain_numpy_and_nothing_else_is_left(tmp_path):
    fill(make(tmp_path / "x.npy"))
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), ROWS)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.parametrize("killed_after", [0, 1, 2, 3])
def test_a_killed_write_resumes_to_the_same_bytes(tmp_path, killed_after):
    fill(make(tmp_path / "whole.npy"))
    file = make(tmp_path / "x.npy")
    for start, stop in file.pending()[:killed_after]:
        file.write(start, ROWS[start:stop])
    del file
    resumed = make(tmp_path / "x.npy")
    assert len(resumed.pending()) == 3 - killed_after
    fill(resumed)
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_killed_between_naming_the_file_and_forgetting_its_blocks(tmp_path):
    file = make(tmp_path / "x.npy")
    for start, stop in file.pending():
        file.write(start, ROWS[start:stop])
    file.commit()
    assert make(tmp_path / "x.npy").pending() == []


def test_a_block_whose_bytes_changed_is_written_again(tmp_path):
    file = make(tmp_path / "x.npy")
    file.write(0, ROWS[:4])
    file.write(4, ROWS[4:8])
    array = np.load(tmp_path / "x.partial.npy", mmap_mode="r+")
    array[5, 0] = -1
    array.flush()
    assert make(tmp_path / "x.npy").pending() == [(4, 8), (8, 10)]


def test_another_identity_is_refused_and_replaced_only_on_request(tmp_path):
    make(tmp_path / "x.npy").write(0, ROWS[:4])
    with pytest.raises(StoreError, match=r"differs in model.*--overwrite"):
        make(tmp_path / "x.npy", identity="b")
    assert len(make(tmp_path / "x.npy", identity="b", restart=True).pending()) == 3


def test_an_unreadable_record_means_starting_over(tmp_path):
    make(tmp_path / "x.npy").write(0, ROWS[:4])
    (tmp_path / "x.progress.jsonl").write_text("{")
    assert len(make(tmp_path / "x.npy").pending()) == 3


def test_a_line_cut_short_by_a_kill_loses_that_block_only(tmp_path):
    file = make(tmp_path / "x.npy")
    file.write(0, ROWS[:4])
    file.write(4, ROWS[4:8])
    log = tmp_path / "x.progress.jsonl"
    log.write_bytes(log.read_bytes()[:-7])
    assert make(tmp_path / "x.npy").pending() == [(4, 8), (8, 10)]


def test_what_is_written_after_a_line_cut_short_survives_the_next_kill(tmp_path):
    file = make(tmp_path / "x.npy")
    file.write(0, ROWS[:4])
    file.write(4, ROWS[4:8])
    log = tmp_path / "x.progress.jsonl"
    log.write_bytes(log.read_bytes()[:-7])
    make(tmp_path / "x.npy").write(8, ROWS[8:])
    assert make(tmp_path / "x.npy").pending() == [(4, 8)]


def test_an_incomplete_file_cannot_take_its_name(tmp_path):
    file = make(tmp_path / "x.npy")
    file.write(0, ROWS[:4])
    with pytest.raises(StoreError, match="2 blocks are missing"):
        file.commit()


def test_checksum_depends_on_values_not_on_layout():
    assert checksum(ROWS) == checksum(np.asfortranarray(ROWS)) != checksum(ROWS + 1)
