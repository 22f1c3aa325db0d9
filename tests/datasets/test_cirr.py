import json
import os
from pathlib import Path

import pytest

from dafm_core.datasets import cirr
from dafm_core.datasets.descriptions import CIRR
from dafm_core.errors import DatasetError, OptionError

SHARED = Path(os.environ.get("DAFM_SHARED", "../shared")) / "data" / "cirr"
needs_data = pytest.mark.skipif(
    not SHARED.exists(), reason=f"{SHARED} (set DAFM_SHARED) is not there"
)


def record(pair, split="dev", **changes):
    members = [f"{split}-{i}" for i in range(6)]
    value = {
        "pairid": pair,
        "reference": members[0],
        "target_hard": members[1],
        "target_soft": {members[1]: 1.0},
        "caption": "add a dog",
        "img_set": {"id": pair % 2, "members": members, "reference_rank": 0, "target_rank": 1},
    }
    return value | changes


def write(folder, split, records, prefix):
    for name in ("captions", "image_splits"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    paths = {f"{prefix}-{i}": f"./{prefix}/{prefix}-{i}.png" for i in range(7)}
    (folder / "image_splits" / f"split.rc2.{split}.json").write_text(json.dumps(paths))
    (folder / "captions" / f"cap.rc2.{split}.json").write_text(json.dumps(records))


@pytest.fixture
def published(tmp_path):
    write(tmp_path, "val", [record(10), record(11)], "dev")
    bare = [
        {k: v for k, v in record(20, "test1").items() if not k.startswith("target")},
        record(21, "test1", reference="test1-3"),
    ]
    write(tmp_path, "test1", bare, "test1")
    return tmp_path


def test_val(published):
    dataset = cirr.load(published)
    assert dataset.protocol == "cirr-val"
    assert dataset.query_ids == ("10", "11")
    assert dataset.gallery_ids == tuple(f"dev-{i}" for i in range(7))
    assert dataset.queries.row(0, named=True) == {
        "query_id": "10",
        "references": ["dev-0"],
        "text": "add a dog",
        "group": "0",
        "targets": ["dev-1"],
        "grades": None,
        "subset": [f"dev-{i}" for i in range(6)],
        "excluded": ["dev-0"],
        "candidates": None,
        "tags": [],
        "negatives": [],
    }
    assert dataset.subsets[0].tolist() == [1, 2, 3, 4, 5]
    assert dataset.problems() == []
    assert dataset.images == {}
    assert dataset.metrics[0] == "recall@1"
    assert {"rsubset@3", "rmean"} < set(dataset.metrics)


def test_test1_has_no_targets_even_where_the_file_has(published):
    dataset = cirr.load(published, split="test1")
    assert not dataset.targets.counts.any()
    assert dataset.subsets.counts.tolist() == [5, 5]


def test_nested_layout_is_the_same_dataset(published, tmp_path_factory):
    parent = tmp_path_factory.mktemp("data")
    (parent / "cirr").symlink_to(published)
    assert cirr.load(parent).queries_sha256 == cirr.load(published).queries_sha256


@pytest.mark.parametrize("where", ["", "img_raw"])
def test_images_are_named_where_a_folder_exists_and_never_opened(published, where):
    (published / where / "dev").mkdir(parents=True)
    assert cirr.load(published).images["dev-3"] == published / where / "dev" / "dev-3.png"


def test_images_option(published, tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    with pytest.raises(DatasetError, match=r"image folder .*dev does not exist"):
        cirr.load(published, images=root)
    (root / "dev").mkdir()
    assert cirr.load(published, images=str(root)).images["dev-0"] == root / "dev" / "dev-0.png"


def test_bank_asks_one_splits_queries_of_anothers_gallery(published):
    shared = [record(10), record(11, reference="test1-2")]
    write(published, "val", shared, "dev")
    bank = cirr.load(published, split="test1", bank="val")
    assert bank.protocol == "cirr-test1-bank-val"
    assert bank.gallery_sha256 == cirr.load(published, split="test1").gallery_sha256
    assert bank.queries_sha256 == cirr.load(published).queries_sha256
    assert not bank.targets.counts.any()
    assert not bank.subsets.counts.any()
    assert bank.queries["excluded"].to_list() == [[], ["test1-2"]]


@pytest.mark.parametrize("name", ["pairid", "reference", "target_hard", "caption", "img_set"])
def test_a_wrong_field_is_named_with_file_and_query(published, name):
    broken = record(11)
    broken[name + "s"] = broken.pop(name)
    write(published, "val", [record(10), broken], "dev")
    with pytest.raises(
        DatasetError, match=rf"cap\.rc2\.val\.json: query 1: .*'{name}'; did you mean"
    ):
        cirr.load(published)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairid": 10}, "'10' stands twice"),
        ({"pairid": "11"}, "of type int"),
        ({"caption": None}, "of type str"),
        ({"img_set": {"id": 1}}, "img_set: expected a field 'members'"),
        ({"img_set": {"id": 1, "members": "dev-1"}}, "of type list"),
    ],
)
def test_bad_records(published, change, message):
    write(published, "val", [record(10), record(11, **change)], "dev")
    with pytest.raises(DatasetError, match=message):
        cirr.load(published)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ("{}", "gallery is empty"),
        ('["dev-0"]', "expected a JSON dict"),
        ('{"dev-0": 3}', "of type str"),
        ('{"dev-0": "../../secret.png"}', "expected a path inside"),
        ('{"dev-0": "./a.png", "dev-0": "./b.png"}', "stands twice"),
    ],
)
def test_bad_split_files(published, splits, message):
    (published / "image_splits" / "split.rc2.val.json").write_text(splits)
    with pytest.raises(DatasetError, match=message):
        cirr.load(published)


def test_unknown_names_offer_the_closest(published, tmp_path):
    with pytest.raises(OptionError, match="did you mean 'test1'"):
        cirr.load(published, split="test")
    with pytest.raises(OptionError, match="option 'bank': got 'trains'; did you mean 'train'"):
        cirr.load(published, bank="trains")
    with pytest.raises(DatasetError, match="captions/ and image_splits/"):
        cirr.load(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"split\.rc2\.train\.json: no such file"):
        cirr.load(published, split="train")


def test_ids_outside_the_gallery_are_said(published):
    write(published, "val", [record(10, target_hard="dev-99", reference="dev-98")], "dev")
    assert [line.split(": ", 1)[1] for line in cirr.load(published).problems()] == [
        "1 of the images in 'references' are not in the gallery: dev-98",
        "1 of the images in 'targets' are not in the gallery: dev-99",
        "1 of the images in 'excluded' are not in the gallery: dev-98",
        "1 of 1 queries have no target in the gallery: 10",
    ]


def test_description_matches_the_reader():
    assert CIRR.splits == cirr.SPLITS


@needs_data
def test_published_val():
    dataset = cirr.load(SHARED)
    assert (dataset.n_queries, dataset.n_gallery) == (2100, 2297)
    assert len(set(dataset.groups)) == 252
    assert dataset.problems() == []
    assert set(dataset.targets.counts) == set(dataset.excluded.counts) == {1}
    assert set(dataset.subsets.counts) == {5}
    assert dataset.gallery_ids[0] == "dev-244-0-img0"


@needs_data
def test_published_test1_and_its_bank():
    dataset = cirr.load(SHARED, split="test1")
    assert (dataset.n_queries, dataset.n_gallery) == (4148, 2315)
    assert dataset.problems() == []
    bank = cirr.load(SHARED, split="test1", bank="val")
    assert (bank.n_queries, bank.n_gallery) == (2100, 2315)
