"""``dafm inspect``: what is in a store, and whether fusing it is worth it."""

from __future__ import annotations

import argparse
from pathlib import Path

from dafm_core.cli.arguments import add_json, add_labels, read_labels
from dafm_core.cli.exporting import add_date

EXAMPLES = {
    "inspect": "examples:\n"
    "  dafm inspect scores/\n"
    "  dafm inspect scores/ --verify --json\n"
    "  dafm inspect scores/ --learning-curve    # would more labels help?"
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the store."""
    parser.add_argument("store", metavar="STORE", type=Path, help="folder of the similarity store")
    parser.add_argument("--verify", action="store_true", help="check every block's checksum too")
    add_labels(parser)
    parser.add_argument(
        "--learning-curve",
        action="store_true",
        help="fit on parts of the labels, to see what labels buy (a minute for 2,000 queries)",
    )
    add_json(parser)
    add_date(parser)


def run(args: argparse.Namespace) -> None:
    """Print passports and, where there are targets, the audits."""
    from dafm_core.comparison.inspection import inspect_store
    from dafm_core.comparison.provenance import made_by
    from dafm_core.errors import StoreError
    from dafm_core.reporting.saying import print_json
    from dafm_core.reporting.summaries import print_inspection
    from dafm_core.reporting.terminal import progress_bars
    from dafm_core.store.store import SimilarityStore

    with progress_bars() as progress:
        inspection = inspect_store(
            SimilarityStore.open(args.store),
            verify=args.verify,
            learning_curve=args.learning_curve,
            labels=read_labels(args, args.store),
            progress=progress,
        )
    if args.json:
        print_json(inspection.to_json() | {"provenance": made_by(args.typed)})
    else:
        print_inspection(inspection)
    if inspection.damage:
        raise StoreError(f"{inspection.damage[0]} Score it again with --overwrite.")
