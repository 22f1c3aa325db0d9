"""``dafm export``: a trained fusion for somebody else's engine."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = {"export": "example:\n  dafm export light/ --to numpy --out light-numpy/"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the form and the folder."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="a fuser that dafm train saved")
    parser.add_argument("--to", choices=["numpy"], default="numpy", help="the form")
    parser.add_argument("--out", required=True, type=Path, help="folder for the files")


def run(args: argparse.Namespace) -> None:
    """Write weights and a function, and say what has to be computed outside."""
    from dafm_core.formats.exporting import export_numpy
    from dafm_core.fusion.saving import load_fuser
    from dafm_core.reporting.terminal import say

    folder = export_numpy(load_fuser(args.model), args.out)
    say(f"{folder}: weights.npz, channels.txt, score.py; README.md says what goes in")
