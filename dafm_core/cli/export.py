"""``dafm export``: a trained fusion for somebody else's engine."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = {
    "export": "examples:\n"
    "  dafm export light/ --to numpy --out light-numpy/\n"
    "  dafm export light/ --to onnx --out light-onnx/"
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the form and the folder."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="a fuser that dafm train saved")
    parser.add_argument("--to", choices=["numpy", "onnx"], required=True, help="the form")
    parser.add_argument("--out", required=True, type=Path, help="folder for the files")


def run(args: argparse.Namespace) -> None:
    """Write weights and a function, and say what has to be computed outside."""
    from dafm_core.formats.exporting import export_numpy
    from dafm_core.formats.onnx import export_onnx
    from dafm_core.fusion.saving import load_fuser
    from dafm_core.reporting.saying import say

    write = export_numpy if args.to == "numpy" else export_onnx
    folder = write(load_fuser(args.model), args.out)
    say(f"{folder}: {args.to}, channels.txt, and README.md, which says what goes in")
