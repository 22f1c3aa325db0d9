"""What can be written, known beforehand and without a trace."""

import os

import pytest

from dafm_core.ground.files import write_text
from dafm_core.ground.goals import goal_of, require_writable


def refusal(path):
    try:
        require_writable(path, folder=False)
    except OSError as error:
        return error
    return None


def test_it_is_refused_beforehand_exactly_where_writing_fails(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "gone" / "further")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    places = ["file", "new", "new/below", "folder", "file/x", "dangling", "round", "x" * 300]
    for place in places:
        before = sorted(tmp_path.iterdir())
        error = refusal(tmp_path / place)
        assert sorted(tmp_path.iterdir()) == before
        if error is None:
            write_text(tmp_path / place, "content")
            assert (tmp_path / place).read_text() == "content"
        else:
            assert error.filename == str(tmp_path / place)
            with pytest.raises((OSError, RuntimeError)):
                write_text(tmp_path / place, "content")


def test_folders_and_files_are_not_taken_for_each_other(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError):
        require_writable(tmp_path / "file", folder=True)
    with pytest.raises(IsADirectoryError):
        require_writable(tmp_path, folder=False)
    require_writable(tmp_path, folder=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are POSIX's")
def test_a_pipe_may_be_written_and_is_no_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    require_writable(tmp_path / "pipe")
    with pytest.raises(NotADirectoryError):
        require_writable(tmp_path / "pipe", folder=True)


def test_a_link_leads_to_its_goal(tmp_path):
    (tmp_path / "link").symlink_to("goal")
    assert goal_of(tmp_path / "link") == (tmp_path / "goal").resolve()
    assert goal_of("/dev/stdout").as_posix() == "/dev/stdout"
