import json
from pathlib import Path

import pytest

from dafm_core.datasets.reading import (
    checked,
    checked_list,
    choose,
    image_folder,
    images_by_stem,
    inside,
    read_json,
)
from dafm_core.errors import DatasetError, OptionError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2", "fails to parse"),
        ('{"a": 1}', "expected a JSON list, got a dict"),
        ('[{"a": 1, "a": 2}]', "'a' stands twice"),
        ("[" * 100_000, "fails to parse"),
        (b"\xff\xfe\x00", "fails to parse"),
    ],
)
def test_bad_json_is_named(tmp_path, text, message):
    path = tmp_path / "file.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=message) as error:
        read_json(path, list)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nothing\.json: no such file"):
        read_json(tmp_path / "nothing.json", list)


def test_checked_fields():
    assert checked({"a": 1}, "a", int, where="f") == 1
    assert checked_list({"a": ["x"]}, "a", str, where="f") == ["x"]
    with pytest.raises(
        DatasetError, match="f: expected a field 'caption'; did you mean 'captions'"
    ):
        checked({"captions": []}, "caption", str, where="f")
    for record in ({"a": True}, {"a": "1"}, {"a": None}):
        with pytest.raises(DatasetError, match="of type int"):
            checked(record, "a", int, where="f")
    with pytest.raises(DatasetError, match="expected a field"):
        checked("text", "a", int, where="f")
    with pytest.raises(DatasetError, match="list values of type str"):
        checked_list({"a": ["x", 1]}, "a", str, where="f")


def test_choose_offers_the_closest():
    assert choose("val", ("val", "train"), where="split") == "val"
    with pytest.raises(OptionError, match="split: got 'vall'; did you mean 'val'"):
        choose("vall", ("val", "train"), where="split")


@pytest.mark.parametrize(
    "path", ["../x.png", "/etc/passwd", "a/../../x", "", ".", "..\\x", "C:\\x"]
)
def test_paths_cannot_leave_the_folder(path):
    with pytest.raises(DatasetError, match="inside"):
        inside(Path("images"), path, where="split.json")


def test_paths_inside_are_kept():
    assert inside(Path("images"), "./dev/a.png", where="f") == Path("images/dev/a.png")


def test_image_folder(tmp_path):
    (tmp_path / "images" / "dev").mkdir(parents=True)
    assert (
        image_folder(None, [tmp_path / "no", tmp_path / "images"], where="d") == tmp_path / "images"
    )
    assert image_folder(None, [tmp_path], below="dev", where="d") is None
    assert image_folder(tmp_path / "images", [], below="dev", where="d") == tmp_path / "images"
    with pytest.raises(DatasetError, match="option 'images'"):
        image_folder(tmp_path / "no", [], where="d")


def test_images_by_stem_reads_any_extension(tmp_path):
    for name in ("a.jpg", "b.png", "c.d.jpg"):
        (tmp_path / name).touch()
    found = images_by_stem(tmp_path, ["a", "b", "c.d", "absent"])
    assert {k: v.name for k, v in found.items()} == {"a": "a.jpg", "b": "b.png", "c.d": "c.d.jpg"}


def test_json_of_any_text_round_trips(tmp_path):
    path = tmp_path / "file.json"
    content = [{"caption": "ééñ 日本 \u2028 \x00"}]
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    assert read_json(path, list) == content
