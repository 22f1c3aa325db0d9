import json

import pytest

from dafm_core.datasets import circo
from dafm_core.datasets.descriptions import CIRCO
from dafm_core.errors import DatasetError, OptionError


def record(query, reference, targets, **changes):
    value = {
        "reference_img_id": reference,
        "target_img_id": targets[0],
        "relative_caption": "is held by a girl",
        "shared_concept": "a teddy bear",
        "gt_img_ids": targets,
        "id": query,
    }
    return value | changes


def write(folder, records, split="val", images=range(100, 110)):
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / "annotations" / f"{split}.json").write_text(json.dumps(records))
    listed = [{"id": i, "file_name": f"{i:012d}.jpg", "height": 4, "width": 3} for i in images]
    coco = folder / "COCO2017_unlabeled" / "annotations"
    coco.mkdir(parents=True, exist_ok=True)
    (coco / "image_info_unlabeled2017.json").write_text(json.dumps({"images": listed}))


@pytest.fixture
def published(tmp_path):
    write(tmp_path, [record(0, 100, [101, 102, 103]), record(1, 104, [103]), record(2, 105, [106])])
    bare = {"reference_img_id": 109, "relative_caption": "c", "shared_concept": "d", "id": 0}
    write(tmp_path, [bare], "test")
    return tmp_path


def test_val(published):
    dataset = circo.load(published)
    assert dataset.protocol == "circo-val"
    assert dataset.gallery_ids == tuple(map(str, range(100, 110)))
    assert dataset.query_ids == ("0", "1", "2")
    assert dataset.queries["targets"].to_list() == [["101", "102", "103"], ["103"], ["106"]]
    assert dataset.queries["references"].to_list() == [["100"], ["104"], ["105"]]
    assert not dataset.excluded.counts.any()  # CIRCO ranks the reference too
    assert dataset.queries["text"][0] == "is held by a girl"
    assert dataset.metrics[:4] == ("map@5", "map@10", "map@25", "map@50")
    assert dataset.images == {}
    assert dataset.problems() == []


def test_leaving_the_reference_out_is_a_protocol_of_its_own(published):
    dataset = circo.load(published, reference="exclude")
    assert dataset.protocol == "circo-val-exclude"
    assert dataset.queries["excluded"].to_list() == [["100"], ["104"], ["105"]]
    with pytest.raises(OptionError, match="did you mean 'exclude'"):
        circo.load(published, reference="excluded")


def test_the_annotated_target_comes_first(published):
    write(published, [record(0, 100, [101, 102]) | {"target_img_id": 102}])
    assert circo.load(published).queries["targets"].to_list() == [["102", "101"]]


def test_queries_that_share_an_image_share_a_group(published):
    assert circo.load(published).groups.tolist() == ["0", "0", "2"]


def test_text_may_name_the_concept(published):
    dataset = circo.load(published, text="concept")
    assert dataset.queries["text"][0] == "a teddy bear that is held by a girl"
    assert dataset.options == {"text": "concept"}


def test_test_split_and_bank(published):
    dataset = circo.load(published, split="test")
    assert dataset.protocol == "circo-test"
    assert not dataset.targets.counts.any()
    bank = circo.load(published, split="test", bank="val")
    assert bank.protocol == "circo-test-bank-val"
    assert bank.query_ids == ("0", "1", "2")
    assert bank.queries["excluded"].to_list() == [["100"], ["104"], ["105"]]


def test_images(published, tmp_path_factory):
    (published / "COCO2017_unlabeled" / "unlabeled2017").mkdir()
    path = published / "COCO2017_unlabeled" / "unlabeled2017" / "000000000101.jpg"
    assert circo.load(published).images["101"] == path
    elsewhere = tmp_path_factory.mktemp("coco")
    assert circo.load(published, images=elsewhere).images["101"].parent == elsewhere


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gt_img_ids": [103]}, "to hold target_img_id 101"),
        ({"gt_img_ids": "101"}, "of type list"),
        ({"reference_img_id": "100"}, "of type int"),
        ({"relative_caption": 3}, "of type str"),
        ({"id": None}, "of type int"),
    ],
)
def test_bad_records(published, change, message):
    write(published, [record(0, 100, [101]) | change])
    with pytest.raises(DatasetError, match=rf"val\.json: query 0: .*{message}"):
        circo.load(published)


def test_bad_galleries(published):
    write(published, [], images=[7, 8, 7])
    with pytest.raises(DatasetError, match="'7' stands twice"):
        circo.load(published)
    write(published, [], images=[])
    with pytest.raises(DatasetError, match="gallery is empty"):
        circo.load(published)
    coco = published / "COCO2017_unlabeled" / "annotations" / "image_info_unlabeled2017.json"
    coco.write_text(json.dumps({"images": [{"id": 1, "file_name": "../../x.jpg"}]}))
    with pytest.raises(DatasetError, match="image 0: expected a path inside"):
        circo.load(published)
    coco.unlink()
    with pytest.raises(DatasetError, match=r"image_info_unlabeled2017\.json: no such file"):
        circo.load(published)


def test_unknown_choices(published):
    with pytest.raises(OptionError, match="did you mean 'test'"):
        circo.load(published, split="test1")
    with pytest.raises(OptionError, match="did you mean 'concept'"):
        circo.load(published, text="concepts")


def test_description_matches_the_reader():
    choices = {option.name: option.choices for option in CIRCO.options}
    assert CIRCO.splits == choices["bank"] == circo.SPLITS
    assert choices["text"] == tuple(circo.TEXTS)
