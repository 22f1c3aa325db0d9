"""``dafm split``, ``dafm merge`` and ``dafm upgrade``: whole stores in, a store out."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = {
    "split": "example:\n  dafm split scores/ --queries half.txt --out half/    # ids, one a line",
    "merge": "examples:\n"
    "  dafm merge part-1/ part-2/ --out scores/\n"
    "  dafm merge part-1/ part-2/ --queries all.txt --out scores/   # in this order",
    "upgrade": "example:\n"
    "  dafm upgrade scores/\n\n"
    "Scores are not touched. Interrupted? Repeat the command.",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stores and, where one is written, the goal."""
    command = parser.prog.split()[-1]
    if command == "upgrade":
        parser.add_argument("store", metavar="DIR", type=Path, help="a store of format 1")
        return
    if command == "split":
        parser.add_argument("stores", metavar="STORE", nargs=1, type=Path, help="similarity store")
        parser.add_argument(
            "--queries", required=True, type=Path, help="queries to take: ids, one a line"
        )
    else:
        parser.add_argument(
            "stores", metavar="STORE", nargs="+", type=Path, help="stores without a common query"
        )
        parser.add_argument(
            "--queries", type=Path, help="order of all queries; part after part by default"
        )
    parser.add_argument("--out", metavar="DIR", required=True, type=Path, help="the new store")


def run(args: argparse.Namespace) -> None:
    """Write the store, and say what is in it."""
    from dafm_core.ground.files import read_ids
    from dafm_core.reporting.saying import say
    from dafm_core.store.editing import merge_stores, split_store
    from dafm_core.store.store import SimilarityStore
    from dafm_core.store.upgrade import upgrade

    if args.command == "upgrade":
        names = upgrade(args.store)
        protocol = SimilarityStore.open(args.store).protocol
        done = f"is of format 2 now, {protocol}" if names is not None else "is of format 2 already"
        say(f"{args.store}: {done}" + (f"; {', '.join(names)}" if names else ""))
        return
    stores = [SimilarityStore.open(path) for path in args.stores]
    queries = read_ids(args.queries) if args.queries else None
    if args.command == "split":
        store = split_store(stores[0], queries or (), args.out)
    else:
        store = merge_stores(stores, args.out, query_ids=queries)
    say(
        f"{store.path}: {store.dataset.n_queries} queries of {store.protocol}; "
        f"{', '.join(store.providers)}"
    )
