"""What the fuzz driver has found, one small file each: a line that says what is wrong."""

import json
import zipfile

import numpy as np
import polars as pl
import pytest
import torch

from dafm_core.datasets import cirr, judgements
from dafm_core.errors import DafmError
from dafm_core.evaluation.score_file import score_submission
from dafm_core.evaluation.trials import TrialLog
from dafm_core.formats.importing import import_scores
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.search.index import GalleryIndex
from dafm_core.search.sources import read_columns
from dafm_core.store.store import SimilarityStore
from dafm_core.wrapping.checkpoints import read_checkpoint


def one_line(read, *arguments, **settings):
    with pytest.raises(DafmError) as caught:
        read(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["<f44", "<f4f4", "(2,)f4", "<M8[xx]"])
def test_an_array_of_a_kind_that_is_none(tmp_path, score, kind):
    score(tmp_path / "store")
    np.save(tmp_path / "a.npy", np.zeros((12, 9), np.float32))
    data = (tmp_path / "a.npy").read_bytes()
    for old in (b"'<f4', 'fortran_order': False, ", b"'<f4', "):
        new = f"'{kind}', ".encode()
        (tmp_path / "a.npy").write_bytes(data.replace(old, new.ljust(len(old))))
        store = SimilarityStore.open(tmp_path / "store")
        assert "cannot be read" in one_line(import_scores, store, "mine", tmp_path / "a.npy")


def test_an_archive_that_is_packed_or_locked_in_another_way(tmp_path, score):
    score(tmp_path / "store")
    np.savez(tmp_path / "a.npz", scores=np.zeros((12, 9), np.float32))
    data = (tmp_path / "a.npz").read_bytes()
    places = [n for n in range(len(data)) if data[n : n + 4] in (b"PK\x03\x04", b"PK\x01\x02")]
    for flag in (1, 1 << 5):  # encrypted; patched
        damaged = bytearray(data)
        for place in places:
            damaged[place + (6 if data[place + 2] == 3 else 8)] |= flag
        (tmp_path / "a.npz").write_bytes(damaged)
        assert zipfile.is_zipfile(tmp_path / "a.npz")
        store = SimilarityStore.open(tmp_path / "store")
        one_line(import_scores, store, "mine", tmp_path / "a.npz")


@pytest.mark.parametrize("path", ["[" * 2000 + "/a.png", "a\0b.png", "x/" + "y" * 300])
def test_a_path_that_cannot_be(tmp_path, path):
    for name in ("captions", "image_splits"):
        (tmp_path / name).mkdir()
    (tmp_path / "captions" / "cap.rc2.val.json").write_text("[]")
    (tmp_path / "image_splits" / "split.rc2.val.json").write_text(json.dumps({"a": path}))
    assert "expected a path that can be" in one_line(cirr.load, tmp_path)


@pytest.mark.parametrize(
    "queries",
    [
        [],
        {"k": 1},
        {"k": {}},
        {"k": {"configurations": ["\ud800"]}},
        {"k": {"configurations": [1]}},
    ],
)
def test_a_record_of_trials_that_holds_something_else(tmp_path, dataset, queries):
    (tmp_path / "trials.json").write_text(json.dumps({"format_version": 1, "queries": queries}))
    one_line(TrialLog(tmp_path).add, dataset, [LightFusion()], ["a"], design="folds")


@pytest.mark.parametrize(
    "line",
    [
        {"references": ["a"], "mark": "meant", "image": "b"},
        {"references": ["a"], "mark": "meant", "text": "t"},
        {"references": [1], "mark": "meant", "text": "t", "image": "b"},
        {"references": "a", "mark": "meant", "text": "t", "image": "b"},
        {"references": ["a"], "mark": "meant", "text": "\ud800", "image": "b"},
    ],
)
def test_a_judgement_that_lacks_something(tmp_path, line):
    lines = [{"format": 1, "index": str(tmp_path)}, line]
    (tmp_path / "j.jsonl").write_text("".join(json.dumps(value) + "\n" for value in lines))
    assert "expected judgements" in one_line(judgements.load, tmp_path / "j.jsonl")


@pytest.mark.parametrize("name", ["c.csv", "c.jsonl", "c.parquet"])
def test_columns_that_are_no_table(tmp_path, name):
    (tmp_path / name).write_text("image_id,a\nx,1\ny,1,2,3\n")
    assert "cannot be read as a table" in one_line(read_columns, tmp_path / name)


def test_an_index_whose_table_lost_a_column(tmp_path):
    from tests.faults.campaigns.actions import ACTIONS

    ACTIONS["index"].action(tmp_path)
    (table,) = (tmp_path / "index").glob("state-*/gallery.parquet")
    pl.read_parquet(table).rename({"image_id": "imagg_id"}).write_parquet(table)
    assert "expected a column image_id" in one_line(GalleryIndex.open, tmp_path / "index")


def test_a_store_whose_queries_lost_a_column(tmp_path, score):
    score(tmp_path / "store")
    table = tmp_path / "store" / "queries.parquet"
    pl.read_parquet(table).rename({"subset": "subs\x0et"}).write_parquet(table)
    assert "cannot be read" in one_line(SimilarityStore.open(tmp_path / "store").stack)


def test_a_submission_with_half_of_a_surrogate_pair(tmp_path, dataset):
    lists = {query: list(dataset.gallery_ids[:3]) for query in dataset.query_ids}
    lists[dataset.query_ids[0]][0] = "a\ud800"
    path = tmp_path / "lists.json"
    path.write_text(json.dumps({"version": "rc2", "metric": "recall", **lists}))
    assert "half of a surrogate pair" in one_line(score_submission, path, dataset)


def test_an_archive_of_a_version_that_nobody_knows(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(3)}, path)
    data = bytearray(path.read_bytes())
    data[data.find(b"PK\x01\x02") + 6] = 90  # needed to read it
    path.write_bytes(data)
    assert read_checkpoint(path, "model").keys() == {"a"}  # torch does not look at it
