"""``dafm score``: one frozen model's similarities into a store."""

from __future__ import annotations

import argparse
from pathlib import Path

from dafm_core.cli.arguments import add_dataset, add_set, read_settings

EXAMPLES = {
    "score": "example:\n"
    "  dafm score cirr:data/cirr --provider sprc --set checkpoint=sprc_cirr.pt --store scores/\n\n"
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
        "--executor", choices=["local", "ray"], default="local", help="where blocks are scored"
    )


def run(args: argparse.Namespace) -> None:
    """Score, with progress on standard error."""
    from dafm_core.catalog import PluginCatalog, find
    from dafm_core.reporting.terminal import print_notes, progress_bars, say
    from dafm_core.scoring.executors import load_executor
    from dafm_core.scoring.score import load_with_options, score_provider

    catalog = PluginCatalog.discover()
    dataset = catalog.load_dataset(
        args.dataset,
        split=args.split,
        options=read_settings(args.dataset_set, flag="--dataset-set"),
    )
    print_notes(dataset.problems())
    provider, recorded = load_with_options(catalog, args.provider, read_settings(args.set))
    name = args.name or args.provider
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
            executor=load_executor(args.executor),
            progress=progress,
        )
    passport = store.passport(name)
    say(
        f"{store.path}: {name}: {dataset.n_queries} queries x {dataset.n_gallery} images, "
        f"{store.protocol}, {passport['dtype']}, {100 * passport['tied_share']:.2f} % of cells tied"
    )
