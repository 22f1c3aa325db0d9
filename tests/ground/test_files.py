"""A file is whole or not there: what a reader sees before, while and after something is written."""

import hashlib
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.errors import DatasetError
from dafm_core.ground.files import read_ids, replacing, sha256_of, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_gets_the_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "x.txt"
    for old, new in ((None, "one"), ("one", "two")):
        with replacing(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.suffix == ".txt"  # writers may go by it
            temporary.write_text(new)
            assert (path.read_text() if path.exists() else None) == old
        assert path.read_text() == new
        assert names(path.parent) == ["x.txt"]


@pytest.mark.parametrize("old", [None, "old"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_content_and_no_temporary(tmp_path, old, error):
    path = tmp_path / "x.txt"
    if old is not None:
        path.write_text(old)
    with pytest.raises(error), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert names(tmp_path) == ([] if old is None else ["x.txt"])
    assert old is None or path.read_text() == old


def test_a_writer_that_writes_nothing_replaces_nothing(tmp_path):
    (tmp_path / "x.txt").write_text("old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "x.txt"):
        pass
    assert (tmp_path / "x.txt").read_text() == "old"


def test_content_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """A name put on disk before its content would be an empty file after a crash."""
    path, seen = tmp_path / "x.txt", []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (seen.append(path.exists()), sync(file)))
    write_text(path, "content")
    assert seen[0] is False


def test_json_is_replaced_whole(tmp_path):
    write_json(tmp_path / "x.json", {"é": 1})
    write_json(tmp_path / "x.json", {"é": 2})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"é": 2}
    assert names(tmp_path) == ["x.json"]


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_what_is_no_json_leaves_the_old_file(tmp_path, value):
    write_json(tmp_path / "x.json", [1])
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "x.json", [value])
    assert (tmp_path / "x.json").read_text() == "[\n 1\n]\n"
    assert names(tmp_path) == ["x.json"]


def test_text_is_utf_8_and_its_path_is_returned(tmp_path):
    path = write_text(str(tmp_path / "x.txt"), "é\n日本")
    assert path.read_bytes() == "é\n日本".encode()


@given(data=st.binary(max_size=50))
def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("hash") / "x.bin"
    path.write_bytes(data)
    assert sha256_of(path) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_ids_are_lines_without_mark_blank_lines_and_space_around(tmp_path, mark):
    path = tmp_path / "ids.txt"
    path.write_bytes(mark + "a\r\n\n  b c \nd\u2028e\n".encode())
    assert read_ids(path) == ("a", "b c", "d\u2028e")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a text file of ids, one a line"),
        (b"\xff\n", "expected a text file of ids, one a line"),
        (b" \n\n", "the file is empty"),
    ],
)
def test_files_without_ids_are_named(tmp_path, content, message):
    path = tmp_path / "ids.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"ids\.txt: .*{message}"):
        read_ids(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="No such device"):
        write_text(pipe, "for nobody")  # refused at once, not waited for
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    link, goal = tmp_path / "link", tmp_path / "goal"
    link.symlink_to(goal)
    for content in ("new", "newer"):  # dangling, then not
        write_text(link, content)
        assert link.is_symlink()
        assert goal.read_text() == content


def test_an_error_names_the_goal(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file/x") as caught:
        write_text(tmp_path / "file" / "x", "content")
    assert ".dafm" not in str(caught.value)
    with pytest.raises(OSError, match="other"), replacing(tmp_path / "x"):
        (tmp_path / "other").read_text()
