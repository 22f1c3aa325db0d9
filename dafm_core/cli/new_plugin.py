"""``dafm new-plugin``: the skeleton of a plugin, working and tested as it is written."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = {
    "new-plugin": "examples:\n"
    "  dafm new-plugin mine\n"
    "  pip install -e 'dafm-plugin-mine[test]' && dafm check mine && pytest dafm-plugin-mine\n"
    "  dafm new-plugin my-rule --kind fuser",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the name, the kind and the folder."""
    parser.add_argument("name", metavar="NAME", help="of what it offers: lower case, digits, '-'")
    parser.add_argument(
        "--kind",
        choices=["provider", "pair", "fuser", "dataset"],
        default="provider",
        help="what it offers: a model (default), a verifier of shortlists, a fusion, a dataset",
    )
    parser.add_argument("--out", type=Path, default=Path(), help="folder to put it in (here)")


def run(args: argparse.Namespace) -> None:
    """Write the package and say what to do next."""
    from dafm_core.reporting.saying import say
    from dafm_core.scaffold import write_plugin

    folder = write_plugin(args.name, args.out, kind=args.kind)
    name = args.name.removeprefix("dafm-plugin-")
    say(f"{folder}: written. Next: pip install -e '{folder}[test]' && dafm check {name}")
