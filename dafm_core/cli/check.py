"""``dafm check``: the conformance suite on a provider or fuser; counts what ran."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from dafm_core.cli.arguments import add_json, add_set, read_settings
from dafm_core.errors import OptionError, ProviderError, closest

EXAMPLES = {
    "check": "examples:\n  dafm check sprc --set checkpoint=sprc_cirr.pt\n  dafm check lambdamart",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the name and its options."""
    parser.add_argument("name", metavar="NAME", help="a provider or a fuser")
    add_set(parser, "provider or fuser")
    parser.add_argument("--seed", type=int, default=0, help="of the samples it is checked on")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Check description and subject, print every law with its outcome, fail if one does."""
    from dafm_core.catalog import PluginCatalog
    from dafm_core.reporting.terminal import print_json, print_records, say
    from dafm_core.testing import (
        ProviderSample,
        check_description,
        check_fuser,
        check_provider,
        summarize,
    )

    catalog = PluginCatalog.discover()
    options = read_settings(args.set)
    if args.name in catalog.fusers:
        fuser = catalog.load_fuser(args.name, options)
        results = check_description(catalog.fusers[args.name])
        results += check_fuser(fuser, seed=args.seed)
    elif args.name in catalog.providers:
        provider = catalog.load_provider(args.name, options)
        with tempfile.TemporaryDirectory() as folder:
            sample = ProviderSample.draw(Path(folder), seed=args.seed)
            results = check_description(catalog.providers[args.name])
            results += check_provider(provider, sample)
    else:
        known = [*catalog.providers, *catalog.fusers]
        raise OptionError(f"no provider or fuser {args.name!r}{closest(args.name, known)}")
    records = [asdict(result) for result in results]
    if args.json:
        print_json(records)
    else:
        print_records(args.name, records)
        say(summarize(results))
    failed = [result.name for result in results if result.outcome == "failed"]
    if failed:
        raise ProviderError(f"{args.name}: {len(failed)} checks failed: {', '.join(failed)}.")
