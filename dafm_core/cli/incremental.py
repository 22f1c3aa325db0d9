"""``dafm incremental``: what each provider is worth, over every subset and every order."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafm_core.cli.arguments import (
    add_labels,
    add_set,
    add_verify,
    add_workers,
    open_stack,
    read_labels,
    read_names,
    read_settings,
    workers_of,
)
from dafm_core.cli.exporting import Export, add_date, add_latex, exporting, latex_text
from dafm_core.errors import OptionError

if TYPE_CHECKING:
    from dafm_core.comparison.inspection import Cost
    from dafm_core.comparison.subset_values import Incremental
    from dafm_core.store.stack import SimilarityStack

EXAMPLES = {
    "incremental": "examples:\n"
    "  dafm incremental scores/ --base sprc --report incremental.html   # the paper's Fig. 3\n"
    "  dafm incremental scores/ --fuser mean --latex subsets.tex",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the store, the fuser, how queries are separated, and exports."""
    parser.add_argument("store", metavar="STORE", type=Path, help="folder of the similarity store")
    parser.add_argument("--fuser", default="light", help="fitted anew on every subset (light)")
    add_set(parser, "fuser")
    parser.add_argument("--providers", help="only these providers, separated by commas")
    parser.add_argument("--base", help="provider that every order starts with")
    parser.add_argument("--folds", type=int, help="cross-fitted folds by group (default 5)")
    parser.add_argument("--train-queries", type=Path, help="fit on these: ids, one a line")
    parser.add_argument("--queries", type=Path, help="evaluate on these: ids, one a line")
    parser.add_argument("--metrics", help="e.g. recall@10,rmean; the protocol's by default")
    parser.add_argument("--resamples", type=int, default=10_000, help="for intervals (10000)")
    parser.add_argument("--seed", type=int, default=0, help="of folds and resamples")
    parser.add_argument("--report", metavar="FILE.html", type=Path, help="a page to look at")
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="everything, for machines; - prints it"
    )
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="the table of subsets")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="the same, with intervals")
    add_latex(parser)
    add_date(parser)
    add_labels(parser)
    add_workers(parser)
    add_verify(parser)


def run(args: argparse.Namespace) -> None:
    """Fuse every subset, print, export."""
    with exporting(args) as export:
        _run(args, export)


def _run(args: argparse.Namespace, export: Export) -> None:
    from dafm_core.comparison.audit import redundancy
    from dafm_core.comparison.inspection import Cost
    from dafm_core.comparison.subset_tables import subset_table
    from dafm_core.reporting import exports
    from dafm_core.reporting.html import write_incremental_page
    from dafm_core.reporting.summaries import print_incremental
    from dafm_core.store.store import SimilarityStore

    store = SimilarityStore.open(args.store)
    stack = open_stack(
        args.store, providers=args.providers, queries=args.queries, verify=args.verify
    )
    result = _measure(args, stack)
    if result.provenance is not None:
        result = replace(result, provenance=result.provenance.typed(args.typed))
    costs = {name: Cost.read(store, name) for name in result.shapley}
    table = subset_table(result, costs)
    print_incremental(result, costs)
    recorded = {name: store.cost(name) for name in costs}
    record = _record(result, costs) | {"costs": recorded}
    export("json", lambda path: exports.write_json(path, record))
    export("markdown", lambda path: exports.write_text(path, exports.to_markdown(table)))
    label = "tab:subsets"
    export("latex", lambda path: exports.write_text(path, latex_text(args, table, label=label)))
    export("csv", lambda path: exports.write_text(path, exports.table_csv(table)))
    pairs = redundancy(stack) if args.report else None
    export(
        "report",
        lambda path: write_incremental_page(path, result, costs=costs, redundancy=pairs),
    )


def _record(result: Incremental, costs: Mapping[str, Cost]) -> dict[str, Any]:
    from dafm_core.comparison.conclusion import conclude
    from dafm_core.comparison.subset_tables import known_milliseconds

    found = conclude(result, costs=known_milliseconds(result, costs))
    return result.to_json() | {"conclusion": found and found.to_json()}


def _measure(args: argparse.Namespace, stack: SimilarityStack) -> Incremental:
    from dafm_core.catalog import PluginCatalog
    from dafm_core.comparison.incremental import incremental
    from dafm_core.evaluation.design import Folds, Train
    from dafm_core.reporting.terminal import progress_bars

    if args.folds is not None and args.train_queries:
        raise OptionError("dafm incremental: expected --folds or --train-queries, got both.")
    design: Folds | Train = Folds(5 if args.folds is None else args.folds, seed=args.seed)
    if args.train_queries:
        names = args.providers
        design = Train(
            open_stack(args.store, providers=names, queries=args.train_queries, verify=args.verify)
        )
    fuser = PluginCatalog.discover().load_fuser(args.fuser, read_settings(args.set))
    with progress_bars() as progress:
        return incremental(
            stack,
            fuser,
            name=args.fuser,
            design=design,
            base=args.base,
            metrics=read_names(args.metrics),
            n_resamples=args.resamples,
            seed=args.seed,
            labels=read_labels(args, args.store),
            progress=progress,
            n_workers=workers_of(args, stack, 2**stack.n_providers),
        )
