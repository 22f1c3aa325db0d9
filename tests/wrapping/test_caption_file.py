import json
import logging

import pytest

from dafm_core.contract.items import ImageRef
from dafm_core.errors import DatasetError, OptionError
from dafm_core.wrapping.caption_file import FOREIGN_FROM, CaptionFile


@pytest.fixture
def write(tmp_path):
    def _write(content):
        path = tmp_path / "captions.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return _write


def test_captions_are_kept_in_order_and_blank_ones_left_out(write):
    file = CaptionFile.read(write({"a": ["one", " ", "two"], "b": "alone", "c": [], "d": [""]}))
    assert file.captions == {"a": ("one", "two"), "b": ("alone",)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{not json", "expected JSON"),
        ([{"image": "a"}], "expected a JSON object, got a list"),
        ({"a": {"text": "x"}}, "list of captions for image 'a'"),
        ({"a": ["x"], "b": [1]}, "list of captions for image 'b', got [1]"),
        ({"a": None}, "got None"),
        ({}, "at least one caption"),
        ({"a": [" "]}, "at least one caption"),
    ],
)
def test_an_unknown_form_is_one_line_with_the_file(write, content, message):
    path = write(content)
    with pytest.raises(DatasetError) as error:
        CaptionFile.read(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_one_line(tmp_path):
    path = tmp_path / "captions.json"
    path.write_bytes(b"\xff\xfe\x00\x80{")
    with pytest.raises(DatasetError, match="expected JSON"):
        CaptionFile.read(path)


def test_a_missing_file_names_the_option(tmp_path):
    with pytest.raises(OptionError, match=r"--set captions=FILE"):
        CaptionFile.read(tmp_path / "nowhere.json")


def test_images_without_captions_are_reported_once(write, caplog):
    file = CaptionFile.read(write({"a": ["one"]}))
    images = [ImageRef("a"), ImageRef("x"), ImageRef("y"), ImageRef("x")]
    with caplog.at_level(logging.WARNING):
        assert file.of(images, role="gallery image") == [("one",), (), (), ()]
        file.of(images, role="gallery image")
    assert [record.getMessage() for record in caplog.records] == [
        f"{file.path}: 2 gallery image(s) without captions: x, y"
    ]


def test_the_file_of_another_dataset_is_refused(write):
    file = CaptionFile.read(write({"a": ["one"]}))
    images = [ImageRef(f"x{i}") for i in range(FOREIGN_FROM)]
    with pytest.raises(DatasetError, match="another dataset"):
        file.of(images, role="gallery image")


def test_the_hash_follows_the_bytes(write):
    first = CaptionFile.read(write({"a": ["one"]})).sha256
    assert CaptionFile.read(write({"a": ["one"]})).sha256 == first
    assert CaptionFile.read(write({"a": ["two"]})).sha256 != first
