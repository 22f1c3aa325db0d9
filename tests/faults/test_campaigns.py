"""A small share of the faults that ``python -m tests.faults.campaigns`` makes by the thousand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills need fork")
def test_no_fault_loses_anything_or_changes_a_number():
    commands = "score pairs,fuse other queries over npy,judge"
    share = ["--only", "lines,flips,inputs", "--commands", commands, "--most", "4"]
    share += ["--flips", "12", "--inputs", "80"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.campaigns", *share],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = re.findall(r"^\| (.*) \| (.*) \| (\d+) \| (\d+) \| 0 \| 0 \| 0 \|$", done.stdout, re.M)
    assert len(rows) == done.stdout.count("\n| "), done.stdout
    assert all(injected == survived for _, _, injected, survived in rows)
    assert int(rows[-1][2]) > 40
