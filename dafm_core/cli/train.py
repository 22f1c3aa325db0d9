"""``dafm train``: fit a fuser on queries with targets, and save it."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.cli.arguments import add_set, read_ids, read_names, read_settings
from dafm_core.errors import OptionError

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.fusion.base import Fuser
    from dafm_core.plugins import PluginCatalog
    from dafm_core.stacking import SimilarityStack

EXAMPLES = {
    "train": "examples:\n"
    "  dafm train scores/ --fuser light --out light/\n"
    "  dafm train scores/ --fuser light --test-size 0.2 --out light/   # evaluate on the rest\n"
    "  dafm train scores/ --fuser light --gate --out deploy/    # the fallback, if no better",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the store, the fuser, which queries to fit on, and the gate."""
    parser.add_argument("store", metavar="STORE", type=Path, help="store of queries with targets")
    parser.add_argument("--fuser", default="light", help="name (see dafm fusers); default light")
    parser.add_argument("--out", required=True, type=Path, help="folder for the fitted fuser")
    add_set(parser, "fuser")
    parser.add_argument("--providers", help="only these providers, separated by commas")
    parser.add_argument("--queries", type=Path, help="fit on these only: ids, one a line")
    parser.add_argument(
        "--test-size", type=float, help="hold out this share of the groups, and evaluate on it"
    )
    parser.add_argument(
        "--gate",
        action="store_true",
        help="cross-fit on the training queries first; save what the verdict says, and why",
    )
    parser.add_argument("--folds", type=int, default=5, help="of the gate (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="of the held-out part and the folds")


def run(args: argparse.Namespace) -> None:
    """Fit, save, and evaluate on what was held out."""
    from dafm_core.blocks import write_json
    from dafm_core.evaluation import evaluate
    from dafm_core.fusion.saving import save_fuser
    from dafm_core.plugins import PluginCatalog
    from dafm_core.stacking import SimilarityStack
    from dafm_core.store import SimilarityStore

    store = SimilarityStore.open(args.store)
    stack = SimilarityStack.from_store(store, read_names(args.providers))
    dataset = store.dataset.take(read_ids(args.queries)) if args.queries else store.dataset
    held_out = None
    if args.test_size is not None:
        dataset, held_out = dataset.split(test_size=args.test_size, seed=args.seed)
    catalog = PluginCatalog.discover()
    name = args.fuser
    fuser = catalog.load_fuser(name, read_settings(args.set))
    reason = None
    if args.gate:
        name, fuser, reason = _gate(args, stack, dataset, catalog, fuser)
    fuser.fit(stack, dataset)
    save_fuser(fuser, args.out)
    if reason is not None:
        write_json(args.out / "gate.json", reason)
        print(reason["reason"])
    print(f"{args.out}: {name} fitted on {dataset.n_queries} queries of {dataset.protocol}")
    if held_out is not None:
        values = evaluate(fuser, stack, held_out).values
        shown = "  ".join(f"{metric} {100 * value:.2f}" for metric, value in values.items())
        print(f"held out: {held_out.n_queries} queries  {shown}")


def _gate(
    args: argparse.Namespace,
    stack: SimilarityStack,
    dataset: Dataset,
    catalog: PluginCatalog,
    fuser: Fuser,
) -> tuple[str, Fuser, dict[str, str]]:
    """Return what the verdict of a cross-fitted comparison says to deploy, and why."""
    from dafm_core.comparison import compare
    from dafm_core.fusion.static import BestSingle
    from dafm_core.reporting.terminal import progress_bars

    if fuser.kind != "learned":
        raise OptionError(f"--gate: {args.fuser!r} is {fuser.kind}; the gate judges learned ones.")
    rules = [name for name, info in catalog.fusers.items() if info.kind == "static"]
    fusers = {name: catalog.load_fuser(name) for name in rules} | {args.fuser: fuser}
    with progress_bars() as progress:
        found = compare(
            stack, dataset, fusers, folds=args.folds, seed=args.seed, progress=progress
        ).verdict
    if found.action == "stay":
        return "best-single", BestSingle(), asdict(found)
    return (
        found.name,
        catalog.load_fuser(found.name) if found.name in rules else fuser,
        asdict(found),
    )
