"""``dafm check``: the conformance suite on a provider, fuser or dataset; counts what ran."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.cli.arguments import add_json, add_set, add_split, read_settings
from dafm_core.cli.watching import watch_models
from dafm_core.errors import OptionError, ProviderError, closest

if TYPE_CHECKING:
    from dafm_core.catalog import PluginCatalog
    from dafm_core.datasets.base import Dataset
    from dafm_core.testing import CheckResult

EXAMPLES = {
    "check": "examples:\n"
    "  dafm check sprc --set checkpoint=sprc_cirr.pt\n"
    "  dafm check sprc --set checkpoint=sprc_cirr.pt --on cirr:data/cirr   # reported numbers too\n"
    "  dafm check lambdamart\n"
    "  dafm check folder:data/mine                                         # a dataset",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the name, its options, and where reported numbers are measured."""
    parser.add_argument(
        "name", metavar="NAME", help="a provider or a fuser; or a dataset, as NAME:PATH"
    )
    add_set(parser, "provider, fuser or dataset")
    parser.add_argument("--seed", type=int, default=0, help="of the samples it is checked on")
    parser.add_argument(
        "--on", metavar="DATASET", help="score this too, and compare with what is reported for it"
    )
    add_split(parser, "the dataset of --on")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Check description and subject, print every law with its outcome, fail if one does."""
    watch_models(args.name)
    from dafm_core.catalog import PluginCatalog
    from dafm_core.reporting.saying import print_json, say
    from dafm_core.reporting.terminal import print_records
    from dafm_core.scoring.boundary import announced
    from dafm_core.testing import summarize

    with announced(f"{args.name!r} at the checks"):
        results = _check(args, PluginCatalog.discover())
    records = [asdict(result) for result in results]
    if args.json:
        print_json(records)
    else:
        print_records(args.name, records)
        say(summarize(results))
    failed = [result.name for result in results if result.outcome == "failed"]
    if failed:
        raise ProviderError(f"{args.name}: {len(failed)} checks failed: {', '.join(failed)}.")


def _check(args: argparse.Namespace, catalog: PluginCatalog) -> list[CheckResult]:
    """Return the outcome of every law about the description and about what it describes."""
    from dafm_core.testing import check_dataset, check_description, check_fuser

    options = read_settings(args.set)
    name = args.name.partition(":")[0]
    if args.on and args.name not in catalog.providers:
        raise OptionError(f"dafm check --on: expected a provider, got {args.name!r}.")
    if args.name in catalog.fusers:
        described = check_description(catalog.fusers[name])
        return described + check_fuser(catalog.load_fuser(name, options), seed=args.seed)
    if args.name in catalog.providers:
        return check_description(catalog.providers[name]) + _check_provider(args, catalog)
    if name in catalog.datasets:

        def load() -> Dataset:
            return catalog.load_dataset(args.name, split=args.split, options=options)

        load()  # a path that is not there is the user's, and no law
        return check_description(catalog.datasets[name]) + check_dataset(load)
    known = [*catalog.providers, *catalog.fusers, *catalog.datasets]
    raise OptionError(f"no provider, fuser or dataset {args.name!r}{closest(args.name, known)}")


def _check_provider(args: argparse.Namespace, catalog: PluginCatalog) -> list[CheckResult]:
    """Return the laws of a provider; with --on, whether it reaches what is reported."""
    from dafm_core.reporting.terminal import progress_bars
    from dafm_core.scoring.score import score
    from dafm_core.testing import ProviderSample, check_provider, check_recall

    provider = catalog.load_provider(args.name, read_settings(args.set))
    with tempfile.TemporaryDirectory(prefix="dafm-check-") as folder:
        sample = ProviderSample.draw(Path(folder), seed=args.seed)
        results = check_provider(provider, sample)
        if args.on:
            dataset = catalog.load_dataset(
                args.on, split=args.split, options=read_settings(args.dataset_set)
            )
            with progress_bars() as progress:
                stack = score(
                    dataset,
                    {args.name: provider},
                    store=Path(folder) / "store",
                    catalog=catalog,
                    progress=progress,
                )
                results += check_recall(catalog.providers[args.name], stack)
    return results
