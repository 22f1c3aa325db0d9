"""A store keeps what was scored: by id, verified, whole, and never half-written."""

import json
import os
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.errors import SimilarityError, StoreError
from dafm_core.store import dataset_part
from dafm_core.store.store import SimilarityStore
from dafm_core.store.writer import count_tied


@pytest.fixture
def scores(dataset, rng):
    return rng.standard_normal((dataset.n_queries, dataset.n_gallery)).astype(np.float32)


@pytest.fixture
def store(tmp_path, dataset):
    return SimilarityStore.create(tmp_path / "store", dataset)


def put(store, name, scores, *, passport=None, until=None, **settings):
    with store.writer(name, passport=passport or {}, block_rows=5, **settings) as writer:
        for start, stop in writer.pending()[:until]:
            writer.write(start, scores[start:stop])


def files(store):
    found = (p for p in store.path.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    return {str(p.relative_to(store.path)): p.read_bytes() for p in found}


def test_what_is_written_is_read(store, scores):
    put(store, "a", scores)
    np.testing.assert_array_equal(store.scores("a"), scores)
    assert isinstance(store.scores("a"), np.memmap)
    assert store.providers == ("a",)
    assert store.verify("a") == []


def test_a_matrix_is_readable_with_numpy_alone(store, scores):
    put(store, "a", scores)
    np.testing.assert_array_equal(np.load(store.path / "a" / "scores.npy", mmap_mode="r"), scores)


def test_the_dataset_survives_without_images(store, dataset):
    read = SimilarityStore.open(store.path).dataset
    assert read.queries.equals(dataset.queries)
    assert (read.gallery_ids, read.metrics) == (dataset.gallery_ids, dataset.metrics)
    assert read.gallery_sha256 == dataset.gallery_sha256


def test_float16_is_stored_on_request_and_its_ties_are_reported(store, dataset):
    near = 1 + np.arange(dataset.n_gallery) * 1e-5  # one value in float16, many in float32
    scores = np.tile(near, (dataset.n_queries, 1)).astype(np.float32)
    put(store, "single", scores)
    put(store, "half", scores, dtype="float16")
    assert store.scores("half").dtype == np.float16
    assert store.passport("single")["tied_share"] == 0
    assert store.passport("half")["tied_share"] == 1


def test_interrupted_writing_is_resumed_to_the_same_bytes(tmp_path, dataset, scores):
    whole = SimilarityStore.create(tmp_path / "whole", dataset)
    put(whole, "a", scores)
    killed = SimilarityStore.create(tmp_path / "killed", dataset)
    put(killed, "a", scores, until=1)
    assert (killed.providers, killed.unfinished) == ((), ("a",))
    put(killed, "a", scores)
    assert (killed.providers, killed.unfinished) == (("a",), ())
    assert files(killed) == files(whole)


def test_dropping_and_adding_again_gives_the_same_bytes(store, scores):
    put(store, "a", scores)
    before = files(store)
    store.remove("a")
    assert store.providers == ()
    put(store, "a", scores)
    assert files(store) == before


def test_the_same_matrix_again_is_nothing_to_do(store, scores):
    put(store, "a", scores)
    with store.writer("a", passport={}) as writer:
        assert writer.pending() == []


def test_an_interrupted_write_is_not_mixed_with_another_block_size(store, scores):
    put(store, "a", scores, until=1)
    with (
        pytest.raises(StoreError, match="differs in block_rows"),
        store.writer("a", passport={}, block_rows=4),
    ):
        pass


def test_another_matrix_under_the_name_is_refused_then_replaced(store, scores):
    put(store, "a", scores, passport={"fingerprint": {"checkpoint": "1"}})
    before = files(store)
    with pytest.raises(StoreError, match=r"differs in fingerprint.*--as NAME.*--overwrite"):
        put(store, "a", scores, passport={"fingerprint": {"checkpoint": "2"}})
    assert files(store) == before
    put(store, "a", scores + 1, passport={"fingerprint": {"checkpoint": "2"}}, overwrite=True)
    np.testing.assert_array_equal(store.scores("a"), scores + 1)
    assert store.verify("a") == []


def test_an_interrupted_replacement_keeps_the_old_matrix(store, scores):
    put(store, "a", scores)
    put(store, "a", scores + 1, passport={"x": 1}, overwrite=True, until=1)
    np.testing.assert_array_equal(store.scores("a"), scores)
    assert store.providers == ("a",)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (lambda s: np.where(s == s[3, 4], np.nan, s), r"got nan for query 3, candidate 4"),
        (lambda s: np.where(s == s[0, 0], np.inf, s), r"got inf for query 0, candidate 0"),
        (lambda s: s[:, 1:], r"expected similarity of shape \(5, 9\).*got \(5, 8\)"),
    ],
)
def test_bad_scores_name_provider_and_place_and_leave_no_trace(store, scores, bad, said):
    before = files(store)
    with pytest.raises(SimilarityError, match=f"provider 'a'.*{said}"):
        put(store, "a", bad(scores))
    assert files(store) == before
    assert not (store.path / "a").exists()


def test_a_float16_overflow_is_not_stored_as_infinity(store, scores):
    with pytest.raises(SimilarityError, match="float16 scores, got inf"):
        put(store, "a", scores * 1e6, dtype="float16")


def test_a_second_writer_is_refused(store):
    with (
        store.writer("a", passport={}),
        pytest.raises(StoreError, match="another process is writing 'a'"),
        store.writer("a", passport={}),
    ):
        pass


def test_changed_scores_are_found_by_their_checksum(store, scores):
    put(store, "a", scores)
    array = np.load(store.path / "a" / "scores.npy", mmap_mode="r+")
    array[7, 0] += 1
    array.flush()
    (line,) = store.verify("a")
    assert "rows 5:10" in line


@pytest.mark.parametrize("name", ["A", "a_b", "../a", "", "-a"])
def test_names_that_are_no_folder_names_are_refused(store, name):
    with pytest.raises(StoreError, match="lower-case letters"), store.writer(name, passport={}):
        pass


def test_unknown_provider_offers_the_closest(store, scores):
    put(store, "sprc", scores)
    with pytest.raises(StoreError, match="did you mean 'sprc'"):
        store.scores("sprk")


def test_another_protocol_does_not_enter(store, dataset):
    with pytest.raises(StoreError, match="store's protocol is 'toy-val'"):
        SimilarityStore.create(store.path, replace(dataset, protocol="toy-test"))
    smaller = replace(dataset, gallery_ids=dataset.gallery_ids[:-1])
    with pytest.raises(StoreError, match="gallery_sha256"):
        SimilarityStore.create(store.path, smaller)


def test_a_newer_format_is_refused(store):
    path = store.path / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(StoreError, match="format 99 is newer"):
        SimilarityStore.open(store.path)


def test_a_folder_that_is_no_store_is_said(tmp_path, dataset):
    with pytest.raises(StoreError, match="not a similarity store"):
        SimilarityStore.open(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="expected an empty or new folder"):
        SimilarityStore.create(tmp_path, dataset)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_damage_is_said_in_one_line(store, scores):
    put(store, "a", scores)
    passport = store.path / "a" / "passport.json"
    written = passport.read_text()
    passport.write_text("{")
    with pytest.raises(StoreError, match=r"passport.json: cannot be read"):
        store.passport("a")
    passport.write_text(written)
    (store.path / "a" / "scores.npy").write_bytes(b"not numpy")
    with pytest.raises(StoreError, match=r"scores.npy: cannot be read"):
        store.scores("a")
    (store.path / "store.json").write_text('{"format": 1}')
    with pytest.raises(StoreError, match="expected a field 'protocol'"):
        SimilarityStore.open(store.path)


def test_ids_changed_after_scoring_are_found(store):
    frame = pl.read_parquet(store.path / "gallery.parquet")
    frame.reverse().write_parquet(store.path / "gallery.parquet")
    with pytest.raises(StoreError, match="gallery_sha256 does not match"):
        _ = SimilarityStore.open(store.path).dataset


def test_tables_are_hashed_once_while_their_files_stay_as_they_are(store, monkeypatch):
    for path in store.path.iterdir():
        os.utime(path, ns=(10**18, 10**18))  # not changed just now
    hashed = []
    check = dataset_part.check_tables
    monkeypatch.setattr(dataset_part, "check_tables", lambda *of: (hashed.append(1), check(*of)))
    for _ in range(3):
        _ = SimilarityStore.open(store.path).dataset
    assert len(hashed) == 1
    store.verify_tables()
    frame = pl.read_parquet(store.path / "gallery.parquet")
    frame.reverse().write_parquet(store.path / "gallery.parquet")
    changed = SimilarityStore.open(store.path)
    with pytest.raises(StoreError, match="gallery_sha256 does not match"):
        _ = changed.dataset


def test_what_is_remembered_of_tables_is_no_verification(store, monkeypatch):
    monkeypatch.setattr(dataset_part.checked, "is_remembered", lambda *_: True)
    frame = pl.read_parquet(store.path / "gallery.parquet")
    frame.reverse().write_parquet(store.path / "gallery.parquet")
    changed = SimilarityStore.open(store.path)
    assert changed.dataset.n_gallery == len(frame)
    with pytest.raises(StoreError, match="gallery_sha256 does not match"):
        changed.verify_tables()


def test_pickled_arrays_are_not_read(store, scores):
    put(store, "a", scores)
    np.save(store.path / "a" / "scores.npy", np.array([{}], dtype=object))
    with pytest.raises(StoreError, match="cannot be read"):
        store.scores("a")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("many", [1, 4096])
def test_tied_cells_are_those_whose_score_stands_twice_in_their_row(monkeypatch, rng, dtype, many):
    monkeypatch.setattr("dafm_core.store.writer.MANY", many)
    rows = np.round(rng.normal(size=(9, 40)), 1).astype(dtype)
    rows[0, :4] = [0.0, -0.0, -np.inf, -np.inf]
    expected = sum(int((row == score).sum() > 1) for row in rows for score in row)
    assert count_tied(rows) == expected
    assert count_tied(rows[:, :1]) == 0
