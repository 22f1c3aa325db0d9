"""CIRR and FashionIQ as MTEB ranks them, and FashionIQ's captions apart, on files by hand."""

import json
import os
from pathlib import Path

import pytest

from dafm_core.datasets import fashioniq, mteb
from dafm_core.datasets.benchmarks import Benchmark
from dafm_core.errors import DatasetError

SHARED = Path(os.environ.get("DAFM_SHARED", "../shared")) / "data"


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def cirr_row(pair, reference, caption, **soft):
    return {"pairid": pair, "reference": reference, "caption": caption, "target_soft": soft}


def test_cirr(tmp_path):
    for name, ids in (("train", "ab"), ("val", "cdef"), ("test1", "gh")):
        write(tmp_path / f"image_splits/split.rc2.{name}.json", {i: f"./{i}.png" for i in ids})
    rows = [
        cirr_row(1, "c", '"add a dog"', d=1.0, e=0.5, f=-1.0),
        cirr_row(2, "c", '"add a dog"', e=1.0),
        cirr_row(3, "d", "is it red?", c=0.5),
        cirr_row(4, "d", "is it blue?", d=1.0),
    ]
    write(tmp_path / "captions/cap.rc2.val.json", rows)
    dataset = mteb.load_cirr(tmp_path)
    assert dataset.protocol == "mteb-cirr"
    assert not Benchmark.of(dataset.protocol).files, "no test server takes these rankings"
    assert dataset.gallery_ids == tuple("abcdefgh")
    assert dataset.query_ids == ("1", "4"), "merged, and without the one that has no positive"
    assert dataset.queries["text"].to_list() == ["Add a dog.", "Is it blue?"]
    assert dataset.queries["targets"].to_list() == [["d", "e"], ["d"]]
    assert dataset.queries["negatives"].to_list() == [["e", "f"], []]
    assert not dataset.excluded.counts.any(), "the reference stays, even as its own target"
    with pytest.raises(DatasetError, match="val split only"):
        mteb.load_cirr(tmp_path, split="test1")


def test_fashioniq(tmp_path):
    for category in fashioniq.CATEGORIES:
        for name in ("train", "val", "test"):
            ids = [f"{category}-{name}", "shared"]
            write(tmp_path / f"image_splits/split.{category}.{name}.json", ids)
        rows = [
            {"candidate": "shared", "target": f"{category}-val", "captions": captions}
            for captions in (["Is red.", " has Sleeves"], ["is red", "has Sleeves."], ["", "Why?"])
        ]
        write(tmp_path / f"captions/cap.{category}.val.json", rows)
    dataset = mteb.load_fashioniq(tmp_path)
    assert dataset.n_gallery == 3 * 3 + 1
    assert dataset.query_ids == ("dress-val-0", "dress-val-2")
    assert dataset.queries["text"].to_list() == ["Is red and has Sleeves.", "Why?"]
    assert dataset.queries["targets"][0].to_list() == ["dress-val", "shirt-val", "toptee-val"]
    apart = fashioniq.load(tmp_path, category="dress", captions="separate")
    assert apart.protocol == "fashioniq-dress-val-original-captions"
    assert apart.query_ids[:2] == ("dress-val-0-first", "dress-val-0-second")
    assert apart.queries["text"].to_list()[:2] == ["Is red.", " has Sleeves"]
    assert len(set(apart.groups)) == 1


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} (set DAFM_SHARED) is not there")
def test_cirrs_own_rows_keep_their_counts(tmp_path):
    """Every row that has a positive is in one query, and every positive of it among its targets."""
    captions = json.loads((SHARED / "cirr/captions/cap.rc2.val.json").read_text())
    for name in ("captions", "image_splits"):
        (tmp_path / name).mkdir()
    write(tmp_path / "captions/cap.rc2.val.json", captions)
    for name in ("train", "val", "test1"):
        published = SHARED / f"cirr/image_splits/split.rc2.{name}.json"
        paths = json.loads(published.read_text()) if published.exists() else {}
        write(tmp_path / f"image_splits/split.rc2.{name}.json", paths)
    dataset = mteb.load_cirr(tmp_path)
    positive = {
        (row["reference"], row["caption"], image)
        for row in captions
        for image, value in row["target_soft"].items()
        if value == 1.0
    }
    assert dataset.queries["targets"].list.len().sum() == len(positive)
    assert dataset.n_queries == len({key[:2] for key in positive})
