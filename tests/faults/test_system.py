"""A system that refuses: one line, nothing lost, and the same command finishes once it can."""

import builtins
import errno
import io
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dafm_core.cli.main import main
from dafm_core.errors import DafmError
from dafm_core.formats.runs import write_run
from dafm_core.ground.files import replacing, write_text
from tests.faults.conftest import assert_whole, content
from tests.faults.killing import files_below

CALLS = ("open", "fsync", "replace", "mkdir", "posix_fallocate", "unlink", "truncate")


class Refusing:
    """Lets the n-th call that changes the disk fail; counts them all."""

    def __init__(self, monkeypatch, folder, at, code):
        self.n_calls, self._at, self._code, self._folder = 0, at, code, str(folder)
        for name in CALLS:
            if name == "open":
                monkeypatch.setattr(io, "open", self._wrapped_open(io.open))
                monkeypatch.setattr(builtins, "open", self._wrapped_open(builtins.open))
            else:
                monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))

    def _count(self, place):
        self.n_calls += 1
        if self.n_calls - 1 == self._at:
            raise OSError(self._code, os.strerror(self._code), place)

    def _wrapped(self, call):
        def refusing(*arguments, **settings):
            self._count(str(arguments[0]))
            return call(*arguments, **settings)

        return refusing

    def _wrapped_open(self, call):
        def refusing(file, mode="r", *arguments, **settings):
            if set(mode) & set("wax+") and str(file).startswith(self._folder):
                self._count(str(file))
            return call(file, mode, *arguments, **settings)

        return refusing


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_any_call_that_fails_while_a_matrix_is_replaced(tmp_path, score, monkeypatch, code):
    """Old or new content before the repetition; new content and nothing else after it."""
    whole, folder = tmp_path / "whole", tmp_path / "store"
    score(whole)
    old = content(whole)
    score(whole, seed=1, overwrite=True)
    new, expected = content(whole), files_below(whole)
    allowed = {"dot": [old["dot"], new["dot"]]}
    at, done = 0, False
    while not done:
        score(folder, overwrite=True)
        with monkeypatch.context() as patch:
            refusing = Refusing(patch, tmp_path, at, code)
            said = os.strerror(code)  # nothing, where what failed only tidies up
            try:
                score(folder, seed=1, overwrite=True)
                done = refusing.n_calls <= at
            except (DafmError, OSError) as error:
                said = str(error)
            assert os.strerror(code) in said, at
        assert_whole(folder, allowed)
        score(folder, seed=1, overwrite=True)
        assert files_below(folder) == expected, at
        at += 4 if code != errno.ENOSPC else 1  # which of them is refused matters, not why
    assert at > 15


@contextmanager
def limited(size):
    """Let no file grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_quota_says_so_before_the_work_and_keeps_the_old_run(tmp_path):
    path = tmp_path / "run.npy"
    ids = {"query_ids": ("a", "b"), "gallery_ids": tuple(f"i{j}" for j in range(600))}
    write_run(path, [(("a", "b"), np.zeros((2, 600), np.float32))], **ids)
    before = files_below(tmp_path)

    def blocks():
        raise AssertionError("room is taken first")
        yield

    with limited(4000), pytest.raises(OSError, match="File too large"):
        write_run(path, blocks(), **ids)
    assert files_below(tmp_path) == before


def test_scoring_under_a_quota_resumes_without_it(tmp_path, score):
    whole, folder = tmp_path / "whole", tmp_path / "store"
    score(whole)
    with limited(400), pytest.raises((DafmError, OSError), match="File too large"):
        score(folder)
    score(folder)
    assert files_below(folder) == files_below(whole)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", [["providers", "--json"], ["--help"], ["fusers"]])
def test_output_to_a_full_disk_is_one_line(command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dafm_core.cli.main", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_places_that_cannot_be_written_are_one_line(tmp_path, capsys, score):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone" / "further")
    score(tmp_path / "scores")
    store = str(tmp_path / "scores")
    places = {
        "below a file": tmp_path / "file" / "x",
        "a device": "/dev/null/x",
        "too long": tmp_path / ("x" * 300),
        "a system folder": "/proc/x",
    }
    for kind, place in places.items():
        assert main(["train", store, "--fuser", "mean", "--out", str(place)]) == 2, kind
        assert len(capsys.readouterr().err.strip().split("\n")) == 1, kind
        with pytest.raises(DafmError) as caught:
            score(Path(place))
        assert "\n" not in str(caught.value), kind
    assert (tmp_path / "file").read_text() == "mine"


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path):
    path = tmp_path / ("x" * 251 + ".txt")
    write_text(path, "content")
    assert path.read_text() == "content"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_request_to_stop_tidies_up(monkeypatch, tmp_path, capsys):
    """SIGTERM is as Ctrl-C: what was begun under a temporary name is removed."""

    def run(argv):
        with replacing(tmp_path / "x.txt") as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    monkeypatch.setattr("dafm_core.cli.main._run", run)
    before = signal.getsignal(signal.SIGTERM)
    assert main([]) == 143
    assert "repeat the command" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before
