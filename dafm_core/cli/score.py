"""``dafm score``: one frozen model's similarities into a store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.cli.arguments import add_dataset, add_set, add_timeout, read_settings
from dafm_core.cli.watching import watch_models

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dafm_core.contract.provider import PairProvider
    from dafm_core.datasets.base import Dataset

EXAMPLES = {
    "score": "examples:\n"
    "  dafm score cirr:data/cirr --provider sprc --set checkpoint=sprc_cirr.pt --store scores/\n"
    "  dafm score cirr:data/cirr --provider my-verifier --shortlist union:50 --store scores/\n\n"
    "Interrupted? Repeat the command: it goes on where it stopped.",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add DATASET and how to score it."""
    add_dataset(parser)
    parser.add_argument("--provider", required=True, help="name of the model (see dafm providers)")
    parser.add_argument("--store", required=True, type=Path, help="folder of the similarity store")
    add_set(parser, "provider")
    parser.add_argument(
        "--as", dest="name", help="store it under this name; the provider's by default"
    )
    parser.add_argument(
        "--shortlist",
        metavar="SPEC",
        help="what a pair provider is asked about: union:50 (50 a query, the store's providers"
        " take turns), provider:NAME:100, run:FILE",
    )
    parser.add_argument("--dtype", default="float32", help="float32 (default) or float16 scores")
    parser.add_argument("--block", type=int, default=256, help="queries per block (default 256)")
    parser.add_argument(
        "--on-missing",
        choices=["error", "skip"],
        default="error",
        help="what a missing or broken image does (default error)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a matrix of that name")
    parser.add_argument(
        "--neighbours",
        action=argparse.BooleanOptionalAction,
        help="each candidate's nearest others (by default up to 50,000 candidates)",
    )
    parser.add_argument(
        "--executor", choices=["local", "ray"], default="local", help="where blocks are scored"
    )
    add_timeout(parser)


def run(args: argparse.Namespace) -> None:
    """Score, with progress on standard error."""
    watch_models(f"provider {args.provider!r}", seconds=args.timeout)
    from dafm_core.catalog import PluginCatalog, find
    from dafm_core.contract.provider import is_pair
    from dafm_core.reporting.saying import print_notes, say
    from dafm_core.reporting.terminal import progress_bars
    from dafm_core.scoring.executors import load_executor
    from dafm_core.scoring.named import load_with_options
    from dafm_core.scoring.pairs import require_shortlist
    from dafm_core.scoring.score import score_provider

    catalog = PluginCatalog.discover()
    dataset = catalog.load_dataset(
        args.dataset,
        split=args.split,
        options=read_settings(args.dataset_set, flag="--dataset-set"),
    )
    print_notes(dataset.problems())
    provider, recorded = load_with_options(catalog, args.provider, read_settings(args.set))
    name = args.name or args.provider
    require_shortlist(args.provider, is_pair=is_pair(provider), spec=args.shortlist)
    if is_pair(provider):
        _score_pairs(args, dataset, name, provider, recorded)
        return
    with progress_bars() as progress:
        store = score_provider(
            dataset,
            name,
            provider,
            store=args.store,
            options=recorded,
            references=find(catalog.providers, args.provider, what="provider").references,
            dtype=args.dtype,
            block_rows=args.block,
            on_missing=args.on_missing,
            overwrite=args.overwrite,
            neighbours=args.neighbours,
            executor=load_executor(args.executor, seconds=args.timeout),
            progress=progress,
        )
    passport = store.passport(name)
    say(
        f"{store.path}: {name}: {dataset.n_queries} queries x {dataset.n_gallery} images, "
        f"{store.protocol}, {passport['dtype']}, {100 * passport['tied_share']:.2f} % of cells tied"
    )


def _score_pairs(
    args: argparse.Namespace,
    dataset: Dataset,
    name: str,
    provider: PairProvider,
    recorded: Mapping[str, str],
) -> None:
    """Score a shortlist, made of what the store has or read from a file."""
    from dafm_core.formats.lists import candidates_of_run
    from dafm_core.reporting.saying import say
    from dafm_core.reporting.terminal import progress_bars
    from dafm_core.scoring.executors import load_executor
    from dafm_core.scoring.pairs import score_pairs
    from dafm_core.scoring.shortlists import shortlist_of
    from dafm_core.store.store import SimilarityStore

    if args.shortlist.startswith("run:"):
        candidates = candidates_of_run(args.shortlist.removeprefix("run:"), dataset)
    else:
        opened = SimilarityStore.open(args.store)
        opened.check_dataset(dataset)
        candidates = shortlist_of(opened, args.shortlist, name=name)
    with progress_bars() as progress:
        store = score_pairs(
            dataset,
            name,
            provider,
            store=args.store,
            candidates=candidates,
            options=recorded,
            on_missing=args.on_missing,
            overwrite=args.overwrite,
            executor=load_executor(args.executor, seconds=args.timeout),
            progress=progress,
        )
    cost = store.cost(name)
    took = f", {cost['ms_per_call']:.2f} ms each" if "ms_per_call" in cost else ""
    say(
        f"{store.path}: {name}: {dataset.n_queries} queries, {cost['calls']} calls "
        f"({cost['calls_per_query']:g} a query{took}), {store.protocol}"
    )
