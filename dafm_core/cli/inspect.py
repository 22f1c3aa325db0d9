"""``dafm inspect``: what is in a store, and whether fusing it is worth it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafm_core.cli.arguments import add_json

if TYPE_CHECKING:
    from dafm_core.store.store import SimilarityStore

EXAMPLES = {"inspect": "examples:\n  dafm inspect scores/\n  dafm inspect scores/ --verify --json"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the store."""
    parser.add_argument("store", metavar="STORE", type=Path, help="folder of the similarity store")
    parser.add_argument("--verify", action="store_true", help="check every block's checksum too")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Print passports and, where there are targets, the audits."""
    from dafm_core.comparison.audit import audit
    from dafm_core.errors import StoreError
    from dafm_core.store.store import SimilarityStore

    store = SimilarityStore.open(args.store)
    damage = [
        line for name in store.providers for line in (store.verify(name) if args.verify else [])
    ]
    record = describe(store) | {"damage": damage if args.verify else None}
    if store.providers and store.dataset.targets.counts.all():
        record["audits"] = audit(store.stack()).to_json()
    if args.json:
        print(json.dumps(record, indent=1, ensure_ascii=False))
    else:
        from dafm_core.reporting.terminal import print_inspection

        print_inspection(record)
    if damage:
        raise StoreError(f"{damage[0]} Score it again with --overwrite.")


def describe(store: SimilarityStore) -> dict[str, Any]:
    """Return counts, problems and every provider's passport, without its blocks."""
    dataset = store.dataset
    providers = []
    for name in store.providers:
        passport = {k: v for k, v in store.passport(name).items() if k != "blocks"}
        providers.append(passport | {"cost": store.cost(name)})
    return {
        "store": str(store.path),
        "protocol": store.protocol,
        "n_queries": dataset.n_queries,
        "n_gallery": dataset.n_gallery,
        "n_groups": len(set(dataset.groups.tolist())),
        "problems": dataset.problems(),
        "unfinished": list(store.unfinished),
        "providers": providers,
        "audits": None,
    }
