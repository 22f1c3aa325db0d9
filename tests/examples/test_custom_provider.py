"""The example of a provider without a package runs through score and compare."""

import runpy
import sys
from pathlib import Path

import dafm_core as dafm

SCRIPT = Path(__file__).parents[2] / "examples" / "custom_provider.py"


def test_the_script_runs_as_printed(tmp_path, monkeypatch, capsys):
    small = dafm.load_dataset("scenes", families="24")
    monkeypatch.setattr(dafm, "load_dataset", lambda name: small)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path / "store")])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    assert "brightness" in printed
    assert "light" in printed
    assert len(SCRIPT.read_text().splitlines()) <= 31
