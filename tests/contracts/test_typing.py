"""A user's script that uses public names passes ``mypy --strict``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dafm_core

ROOT = Path(__file__).parents[2]

SCRIPT = """
import dafm_core as dafm
from dafm_core.fusion.base import TileScorer

dataset = dafm.load_dataset("scenes", families="40")
stack = dafm.score(dataset, ["scenes-color", "scenes-words"], store="scores")
comparison = dafm.compare(stack, ["light", "mean"], design=dafm.Folds(5, seed=0))
value: float = comparison.row("light").metrics["recall@1"].value
light: dafm.LightFusion = dafm.LightFusion(seed=0).fit(stack)
run: dafm.Run = light.fuse(stack)
print(comparison.verdict.reason, run.scores.shape, value)


class Mine(dafm.Fuser):
    def _scorer(self, gallery: dafm.Gallery) -> TileScorer:
        raise dafm.DafmError("not written yet")
"""

CONFIG = """
[mypy]
[mypy-torch.*,transformers.*,sklearn.*,PIL.*,matplotlib.*,jinja2.*,starlette.*]
follow_imports = skip
"""
"""As projects do that do not want to wait for torch to be read; dafm's own types come from dafm."""

WRONG = """
import dafm_core as dafm

dafm.Folds(5, sed=0)
value: int = dafm.VotingFusion("rrf")
dafm.no_such_name
"""


def check(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy as in a project of the user's own: without this repository's configuration."""
    (folder / "script.py").write_text(script)
    (folder / "mypy.ini").write_text(CONFIG)
    cache = ROOT / ".mypy_cache" / "user-scripts"  # the second run takes a second
    command = [
        "--strict",
        "--config-file=mypy.ini",
        "--follow-imports=silent",
        f"--cache-dir={cache}",
    ]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *command, "script.py"],
        cwd=folder,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_script_with_public_names_is_well_typed(tmp_path: Path) -> None:
    everything = "from dafm_core import " + ", ".join(dafm_core.__all__)
    done = check(f"{SCRIPT.strip()}\n{everything}\n", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_use_is_found(tmp_path: Path) -> None:
    done = check(WRONG, tmp_path)
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(lines) == 3
    for line, culprit in zip(lines, ("sed", "VotingFusion", "no_such_name"), strict=True):
        assert culprit in line


@pytest.mark.parametrize("name", dafm_core.__all__)
def test_a_public_name_is_there_when_asked_for(name: str) -> None:
    assert getattr(dafm_core, name).__name__ == name
