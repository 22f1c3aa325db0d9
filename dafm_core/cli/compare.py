"""``dafm compare``: learned against static fusion, on queries no fusion has seen."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dafm_core.cli.arguments import (
    add_labels,
    add_tune,
    add_verify,
    add_workers,
    open_bank,
    open_stack,
    read_choices,
    read_labels,
    read_names,
    read_settings,
    workers_of,
)
from dafm_core.cli.exporting import Export, add_exports, exporting, json_of, write_exports
from dafm_core.errors import OptionError, closest

if TYPE_CHECKING:
    from dafm_core.catalog import PluginCatalog
    from dafm_core.comparison.result import Comparison
    from dafm_core.evaluation.design import Design
    from dafm_core.fusion.base import Fuser
    from dafm_core.ground.progress import Progress

Value = TypeVar("Value")

EXAMPLES = {
    "compare": "examples:\n"
    "  dafm compare scores/ --folds 5 --report report.html\n"
    "  dafm compare scores/ --train-queries fit.txt --queries test.txt --fusers light,mean\n"
    "  dafm compare dress/ shirt/ toptee/ --folds 5      # FashionIQ: categories and averages\n"
    "  dafm compare scores/ --fusers light --set light.objective=subset\n"
    "  dafm compare scores/ --folds 5 --json result.json\n"
    "  dafm compare --repeat result.json                 # the same numbers?\n"
    "  dafm compare scores/ --tune light.network=linear --tune light.network=residual",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add stores, fusers, how queries are separated, and exports."""
    parser.add_argument("stores", metavar="STORE", nargs="*", type=Path, help="similarity store")
    parser.add_argument(
        "--repeat",
        metavar="FILE.json",
        type=Path,
        help="do again what made this file (of --json), and say whether the numbers agree; stores "
        "that have moved are named before it",
    )
    parser.add_argument("--fusers", help="names separated by commas; all installed by default")
    parser.add_argument("--providers", help="only these providers, separated by commas")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FUSER.KEY=VALUE",
        help="an option of one fuser; repeatable",
    )
    add_tune(parser, "FUSER.KEY=VALUE")
    parser.add_argument("--folds", type=int, help="cross-fitted folds by group (default 5)")
    parser.add_argument(
        "--connected",
        action="store_true",
        help="folds and intervals by groups that share no target or reference either",
    )
    parser.add_argument("--train-queries", type=Path, help="fit on these: ids, one a line")
    parser.add_argument("--train-store", type=Path, help="fit on another store's queries")
    parser.add_argument(
        "--bank",
        type=Path,
        help="unlabelled queries for the query bank: a store, or ids of this store, one a line; "
        "groups that are held out are left out",
    )
    parser.add_argument("--queries", type=Path, help="compare on these: ids, one a line")
    parser.add_argument("--metrics", help="e.g. recall@1,recall@10; the protocol's by default")
    parser.add_argument("--resamples", type=int, default=10_000, help="for intervals (10000)")
    parser.add_argument("--seed", type=int, default=0, help="of folds and resamples")
    add_workers(parser)
    add_labels(parser)
    add_exports(parser)
    add_verify(parser)


def run(args: argparse.Namespace) -> None:
    """Compare each store, print, export; with --repeat as a file says, and compare with it."""
    if args.repeat is None and not args.stores:
        raise OptionError("dafm compare: expected a STORE, or --repeat FILE.json. See --help.")
    with exporting(args) as export:
        if args.repeat is None:
            _run(args, export)
        else:
            from dafm_core.cli.repeating import said_before, say_whether_it_agrees

            again, before = said_before(args)
            say_whether_it_agrees(args.repeat, before, json_of(_run(again, export)))


def _run(args: argparse.Namespace, export: Export) -> list[Comparison]:
    from dafm_core.catalog import PluginCatalog
    from dafm_core.comparison.families import average_families
    from dafm_core.comparison.inspection import read_costs
    from dafm_core.comparison.tables import comparison_table, families_table
    from dafm_core.reporting.summaries import print_comparison, print_families, print_types
    from dafm_core.reporting.terminal import progress_bars

    alone = (args.queries, args.train_queries, args.train_store, args.bank)
    if len(args.stores) > 1 and any(alone):
        raise OptionError("dafm compare: query lists, --train-store and --bank go with one store.")
    fusers = load_fusers(args, PluginCatalog.discover())
    with progress_bars() as progress:
        made = [_compare(args, store, fusers, progress) for store in args.stores]
    comparisons = [replace(c, provenance=c.provenance.typed(args.typed)) for c in made]
    costs, stores = read_costs(args.stores[0]), [str(path) for path in args.stores]
    averages = average_families(comparisons) if len(comparisons) > 1 else None
    if averages:
        print_families(averages, costs=costs, stores=stores)
    else:
        print_comparison(comparisons[0], costs=costs, stores=stores)
    if args.by_type:
        print_types(comparisons)
    table = families_table(averages) if averages else comparison_table(comparisons[0], deltas=True)
    write_exports(export, args, comparisons, table, costs=costs, stores=stores)
    return comparisons


def load_fusers(args: argparse.Namespace, catalog: PluginCatalog) -> dict[str, Fuser]:
    """Return the fusers that --fusers, --set and --tune ask for, unfitted."""
    from dafm_core.evaluation.tuning import SelectedFusion, candidates

    names = read_names(args.fusers) or list(catalog.fusers)
    fixed = _by_fuser(read_settings(args.set), names, flag="--set")
    varied = _by_fuser(read_choices(args.tune), names, flag="--tune")
    fusers: dict[str, Fuser] = {}
    for name in names:
        make = partial(catalog.load_fuser, name)
        fusers[name] = (
            SelectedFusion(candidates=candidates(make, fixed[name], varied[name]))
            if varied[name]
            else make(fixed[name])
        )
    return fusers


def _by_fuser(
    settings: Mapping[str, Value], names: Sequence[str], *, flag: str
) -> dict[str, dict[str, Value]]:
    """Return FUSER.KEY -> value as FUSER -> KEY -> value."""
    parted: dict[str, dict[str, Value]] = {name: {} for name in names}
    for key, value in settings.items():
        fuser, dot, option = key.partition(".")
        if not dot or fuser not in parted:
            raise OptionError(f"{flag}: expected FUSER.KEY, got {key!r}{closest(fuser, parted)}")
        parted[fuser][option] = value
    return parted


def _compare(
    args: argparse.Namespace,
    path: Path,
    fusers: dict[str, Fuser],
    progress: Progress,
) -> Comparison:
    from dafm_core.comparison.compare import compare
    from dafm_core.evaluation.trials import TrialLog

    bank = open_bank(args.bank, path, providers=args.providers, verify=args.verify)
    stack = open_stack(path, providers=args.providers, queries=args.queries, verify=args.verify)
    return compare(
        stack,
        fusers,
        design=_design(args, path),
        bank=bank,
        metrics=read_names(args.metrics),
        n_resamples=args.resamples,
        seed=args.seed,
        trials=TrialLog(path),
        labels=read_labels(args, path),
        progress=progress,
        n_workers=workers_of(args, stack, args.folds or 5),
    )


def _design(args: argparse.Namespace, path: Path) -> Design:
    """Return how training and held-out queries are separated; folds where nothing is said."""
    from dafm_core.evaluation.design import Folds, Train

    asked = {
        "--folds": args.folds,
        "--train-queries": args.train_queries,
        "--train-store": args.train_store,
    }
    flags = [flag for flag, value in asked.items() if value is not None]
    if len(flags) > 1:
        raise OptionError(
            f"dafm compare: expected one of {', '.join(asked)}, got {' and '.join(flags)}. "
            "Leave one out."
        )
    if args.connected and flags not in ([], ["--folds"]):
        raise OptionError(f"dafm compare: --connected goes with folds. Leave {flags[0]} out.")
    if args.train_queries:
        return Train(
            open_stack(
                path, providers=args.providers, queries=args.train_queries, verify=args.verify
            )
        )
    if args.train_store:
        return Train(open_stack(args.train_store, providers=args.providers, verify=args.verify))
    n_folds = 5 if args.folds is None else args.folds
    return Folds(n_folds, seed=args.seed, connected=args.connected)
