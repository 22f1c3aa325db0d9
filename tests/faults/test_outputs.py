"""Outputs are looked at before the work: refused in one line, and nothing is harmed."""

from pathlib import Path

import pytest

from dafm_core.cli.main import main
from tests.faults.killing import files_below


@pytest.fixture
def scored(tmp_path, score):
    score(tmp_path / "store")
    return tmp_path / "store"


@pytest.mark.parametrize("option", ["report", "json", "csv", "markdown", "latex", "per-query"])
def test_comparing_refuses_before_it_begins(scored, capsys, monkeypatch, option):
    monkeypatch.setattr("dafm_core.comparison.compare.compare", None)  # is not reached
    before = files_below(scored)
    places = [scored / "store.json", scored / "dot" / "scores.npy", scored, Path("/proc/x")]
    for place in places:
        assert main(["compare", str(scored), f"--{option}", str(place)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert str(place) in said
    assert files_below(scored) == before


def test_one_file_is_not_written_twice(scored, capsys, tmp_path):
    path = str(tmp_path / "x")
    assert main(["compare", str(scored), "--csv", path, "--latex", path]) == 2
    assert "--csv and --latex: expected two files" in capsys.readouterr().err


def test_training_refuses_before_it_begins(scored, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("dafm_core.cli.train._load", None)  # is not reached
    (tmp_path / "file").write_text("mine")
    for place in (scored, "/dev/null", tmp_path / "file" / "x", scored / "dot" / "scores.npy"):
        assert main(["train", str(scored), "--out", str(place)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_scoring_refuses_before_the_model_is_loaded(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("dafm_core.scoring.named.load_with_options", None)  # is not reached
    (tmp_path / "file").write_text("mine")
    arguments = ["score", "scenes", "--provider", "scenes-color", "--store", str(tmp_path / "file")]
    assert main(arguments) == 2
    assert "cannot be written" in capsys.readouterr().err
