import json
import os
from pathlib import Path

import pytest

from dafm_core.datasets import fashioniq
from dafm_core.datasets.descriptions import FASHIONIQ
from dafm_core.errors import DatasetError, OptionError

SHARED = Path(os.environ.get("DAFM_SHARED", "../shared")) / "data" / "fashioniq"
needs_data = pytest.mark.skipif(
    not SHARED.exists(), reason=f"{SHARED} (set DAFM_SHARED) is not there"
)

QUERIES = [("a", "b"), ("b", "c"), ("d", "e"), ("f", "e")]


def record(reference, target, captions=(" is RED, with sleeves.", "Has a Collar? ")):
    return {"candidate": reference, "target": target, "captions": list(captions)}


def write(folder, category, split, records, gallery):
    for name in ("captions", "image_splits"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "image_splits" / f"split.{category}.{split}.json").write_text(json.dumps(gallery))
    (folder / "captions" / f"cap.{category}.{split}.json").write_text(json.dumps(records))


@pytest.fixture
def published(tmp_path):
    records = [record(*pair) for pair in QUERIES]
    write(tmp_path, "dress", "val", records, list("xfedcbay"))
    write(tmp_path, "dress", "train", [record("p", "q"), record("a", "q")], list("pqa"))
    bare = {"candidate": "t", "captions": ["one", "two"]}
    write(tmp_path, "dress", "test", [bare], ["t", "u"])
    return tmp_path


def test_original_protocol_keeps_the_reference(published):
    dataset = fashioniq.load(published, category="dress")
    assert dataset.protocol == "fashioniq-dress-val-original"
    assert dataset.gallery_ids == tuple("xfedcbay")
    assert dataset.query_ids == tuple(f"dress-val-{i}" for i in range(4))
    assert not dataset.excluded.counts.any()
    assert dataset.queries["targets"].to_list() == [["b"], ["c"], ["e"], ["e"]]
    assert dataset.metrics[0] == "recall@10"


def test_union_protocol_has_the_queries_images_and_excludes_the_reference(published):
    dataset = fashioniq.load(published, category="dress", gallery="union")
    assert dataset.protocol == "fashioniq-dress-val-union"
    assert dataset.gallery_ids == tuple("fedcba")
    assert dataset.queries["excluded"].to_list() == [["a"], ["b"], ["d"], ["f"]]


@pytest.mark.parametrize(
    ("gallery", "reference", "protocol", "n_excluded"),
    [
        ("original", "keep", "fashioniq-dress-val-original", 0),
        ("original", "exclude", "fashioniq-dress-val-original-reference-excluded", 4),
        ("union", "keep", "fashioniq-dress-val-union-reference-kept", 0),
        ("union", "exclude", "fashioniq-dress-val-union", 4),
    ],
)
def test_protocol_names_say_where_the_reference_is(
    published, gallery, reference, protocol, n_excluded
):
    dataset = fashioniq.load(published, category="dress", gallery=gallery, reference=reference)
    assert dataset.protocol == protocol
    assert dataset.excluded.counts.sum() == n_excluded


@pytest.mark.parametrize(
    ("join", "text"),
    [
        ("and", "Is red, with sleeves and Has a Collar"),
        ("comma-and", "Is red, with sleeves, and Has a Collar"),
        ("reversed", "Has a collar and is RED, with sleeves"),
        ("plain", " is RED, with sleeves. and Has a Collar? "),
        ("first", " is RED, with sleeves."),
        ("second", "Has a Collar? "),
        ("lines", " is RED, with sleeves.\nHas a Collar? "),
    ],
)
def test_joins(published, join, text):
    dataset = fashioniq.load(published, category="dress", join=join)
    assert dataset.queries["text"][0] == text
    assert dataset.options == {"join": join}


def test_queries_that_share_an_image_share_a_group(published):
    groups = fashioniq.load(published, category="dress").groups.tolist()
    assert groups == ["dress-val-0", "dress-val-0", "dress-val-2", "dress-val-2"]


def test_test_split_has_no_targets(published):
    dataset = fashioniq.load(published, category="dress", split="test")
    assert not dataset.targets.counts.any()
    with pytest.raises(OptionError, match="union gallery needs targets"):
        fashioniq.load(published, category="dress", split="test", gallery="union")


def test_bank(published):
    bank = fashioniq.load(published, category="dress", gallery="union", bank="train")
    assert bank.protocol == "fashioniq-dress-val-union-bank-train"
    assert bank.gallery_ids == tuple("fedcba")
    assert bank.query_ids == ("dress-train-0", "dress-train-1")
    assert bank.queries["excluded"].to_list() == [[], ["a"]]
    assert not bank.targets.counts.any()


@pytest.mark.parametrize("where", ["images", "images/dress", "resized_image/dress"])
def test_images_are_found_by_listing_a_folder(published, where):
    (published / where).mkdir(parents=True)
    for name in ("a.jpg", "b.png"):
        (published / where / name).touch()
    images = fashioniq.load(published, category="dress").images
    assert images == {"a": published / where / "a.jpg", "b": published / where / "b.png"}


def test_images_option(published, tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    (root / "a.jpg").touch()
    assert fashioniq.load(published, category="dress", images=root).images == {"a": root / "a.jpg"}
    with pytest.raises(DatasetError, match="option 'images'"):
        fashioniq.load(published, category="dress", images=root / "no")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"category": "dresses"}, "did you mean 'dress'"),
        ({"split": "valid"}, "did you mean 'val'"),
        ({"gallery": "unions"}, "did you mean 'union'"),
        ({"reference": "kept"}, "did you mean 'keep'"),
        ({"join": "commaand"}, "did you mean 'comma-and'"),
        ({"bank": "tests"}, "did you mean 'test'"),
    ],
)
def test_unknown_choices_offer_the_closest(published, options, message):
    with pytest.raises(OptionError, match=message):
        fashioniq.load(published, **({"category": "dress"} | options))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"candidate": "a", "captions": ["x", "y"]}, "query 0: expected a field 'target'"),
        ({"target": "a", "captions": ["x", "y"]}, "query 0: expected a field 'candidate'"),
        (record("a", "b", ["only one"]), "expected two captions, got 1"),
        (record("a", "b", ["one", 2]), "list values of type str"),
        ("a", "expected a field 'captions'"),
    ],
)
def test_bad_records(published, bad, message):
    write(published, "dress", "val", [bad], ["a", "b"])
    with pytest.raises(DatasetError, match=message):
        fashioniq.load(published, category="dress")


@pytest.mark.parametrize(
    ("gallery", "message"),
    [([], "gallery is empty"), (["a", "a"], "'a' stands twice"), ([1], "of type str")],
)
def test_bad_galleries(published, gallery, message):
    write(published, "dress", "val", [record("a", "b")], gallery)
    with pytest.raises(DatasetError, match=message):
        fashioniq.load(published, category="dress")


def test_missing_category_is_named(published):
    with pytest.raises(DatasetError, match=r"split\.shirt\.val\.json: no such file"):
        fashioniq.load(published, category="shirt")


def test_description_matches_the_reader():
    choices = {option.name: option.choices for option in FASHIONIQ.options}
    assert FASHIONIQ.splits == choices["bank"] == fashioniq.SPLITS
    assert choices["category"] == fashioniq.CATEGORIES
    assert choices["gallery"] == fashioniq.GALLERIES
    assert choices["reference"] == fashioniq.REFERENCES
    assert choices["join"] == tuple(fashioniq.JOINS)


@needs_data
@pytest.mark.parametrize(("gallery", "size"), [("original", 3817), ("union", 2628)])
def test_published_dress_val(gallery, size):
    dataset = fashioniq.load(SHARED, category="dress", gallery=gallery)
    assert (dataset.n_queries, dataset.n_gallery) == (2017, size)
    assert dataset.problems() == []
    assert set(dataset.targets.counts) == {1}
    assert len(set(dataset.groups)) == 655


@needs_data
def test_published_groups_share_no_image():
    dataset = fashioniq.load(SHARED, category="dress")
    fit, held_out = dataset.split(seed=1)
    images = [
        {
            *part.queries["references"].explode().to_list(),
            *part.queries["targets"].explode().to_list(),
        }
        for part in (fit, held_out)
    ]
    assert not images[0] & images[1]
