"""``dafm cases``: single queries, who was right, and why the fusion chose what it chose."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.cli.arguments import add_labels, add_verify, open_stack, read_labels, read_names
from dafm_core.cli.exporting import add_date
from dafm_core.errors import DatasetError, OptionError
from dafm_core.ground.sources import source_json

if TYPE_CHECKING:
    from dafm_core.cases.cases import Cases
    from dafm_core.evaluation.design import Design
    from dafm_core.fusion.base import Fuser

SHOWN_IN_FULL = 5
LISTED = 30
"""Cases shown on a terminal: few in full, more as a list, the rest by number."""

EXAMPLES = {
    "cases": "examples:\n"
    "  dafm cases scores/ --report cases.html                     # all queries, cross-fitted\n"
    "  dafm cases scores/ --query 12063 --query 12064             # why, on the terminal\n"
    "  dafm cases scores/ --outcome broke --csv regressions.csv   # what fusing costs\n"
    "  dafm cases scores/ --model light/ --images cirr:data/cirr --about negation --report no.html",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the store, the fusion, which queries, and where to."""
    parser.add_argument("store", metavar="STORE", type=Path, help="folder of the similarity store")
    parser.add_argument("--model", type=Path, help="a fuser that dafm train saved")
    parser.add_argument("--fusers", help="names, cross-fitted; weighted by default")
    parser.add_argument("--folds", type=int, default=5, help="of --fusers (default 5)")
    parser.add_argument("--providers", help="only these providers, separated by commas")
    parser.add_argument("--depth", type=int, default=5, help="candidates per column (default 5)")
    parser.add_argument("--query", action="append", help="a query id; repeatable")
    parser.add_argument("--queries", type=Path, help="only these queries: ids, one a line")
    parser.add_argument("--outcome", help="rescued, broke, missed, failed or solved")
    parser.add_argument("--about", help="negation, count, colour, position or other")
    parser.add_argument("--text", help="only queries whose text contains this")
    parser.add_argument("--limit", type=int, help="at most so many, the biggest changes first")
    parser.add_argument("--images", metavar="DATASET", help="where pictures are, e.g. cirr:PATH")
    parser.add_argument("--captions", metavar="FILE.json", type=Path, help="image id -> caption")
    parser.add_argument(
        "--thumbnails", type=float, default=6.0, metavar="MB", help="budget of pictures (6)"
    )
    parser.add_argument("--report", metavar="FILE.html", type=Path, help="a page to look at")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="a line per case")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_date(parser)
    add_labels(parser)
    add_verify(parser)


def run(args: argparse.Namespace) -> None:
    """Collect, filter, then print or write."""
    from dafm_core.reporting.exports import csv_text, write_text
    from dafm_core.reporting.saying import print_json, say

    cases, fuser = _filtered(args)
    frame = cases.frame(fuser)
    if args.csv:
        say(str(write_text(args.csv, csv_text(frame))))
    if args.report:
        say(str(_write_page(args, cases)))
    if args.json:
        print_json(cases.to_json(), indent=None)
    elif not (args.csv or args.report):
        _print(cases, fuser, _read_captions(args.captions) if args.captions else {})


def _filtered(args: argparse.Namespace) -> tuple[Cases, str]:
    """Return the cases asked for, and the fuser whose outcomes count."""
    from dafm_core.cases.collecting import collect_cases

    stack = open_stack(
        args.store, providers=args.providers, queries=args.queries, verify=args.verify
    )
    fusers, design = _fusers(args)
    if args.model:
        stack = stack.take_queries(args.query) if args.query else stack
        stack = stack.select(next(iter(fusers.values())).record_.providers)
    labels = read_labels(args, args.store)
    cases = collect_cases(stack, fusers, depth=args.depth, design=design, labels=labels)
    if args.query and not args.model:
        cases = cases.take_queries(args.query)
    fuser = next(iter(fusers))
    if args.outcome or args.about or args.text or args.limit or not args.query:
        cases = cases.find(
            fuser, outcome=args.outcome, query_type=args.about, text=args.text, limit=args.limit
        )
    if cases.provenance is not None:
        cases = replace(cases, provenance=cases.provenance.typed(args.typed))
    return cases, fuser


def _fusers(args: argparse.Namespace) -> tuple[dict[str, Fuser], Design]:
    from dafm_core.catalog import PluginCatalog
    from dafm_core.evaluation.design import AsGiven, Folds
    from dafm_core.fusion.saving import load_fuser

    if args.model and args.fusers:
        raise OptionError("dafm cases: expected --model or --fusers, got both.")
    if args.model:
        return {args.model.name: load_fuser(args.model)}, AsGiven()
    catalog = PluginCatalog.discover()
    names = read_names(args.fusers) or ["weighted"]
    return {name: catalog.load_fuser(name) for name in names}, Folds(args.folds)


def _write_page(args: argparse.Namespace, cases: Cases) -> Path:
    from dafm_core.catalog import PluginCatalog
    from dafm_core.reporting.html import write_cases_page

    images = PluginCatalog.discover().load_dataset(args.images).images if args.images else None
    return write_cases_page(
        args.report,
        cases,
        images=images,
        captions=_read_captions(args.captions) if args.captions else None,
        thumbnail_budget=int(args.thumbnails * 1e6),
    )


def _read_captions(path: Path) -> dict[str, str]:
    """Return one caption per image; of several, the first."""
    try:
        given = source_json(path)
        first = {i: c if isinstance(c, str) else next(iter(c), "") for i, c in given.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DatasetError(
            f"{path}: expected a JSON object of image id -> caption or captions ({error})."
        ) from None
    return {image_id: str(caption) for image_id, caption in first.items()}


def _print(cases: Cases, fuser: str, captions: Mapping[str, str]) -> None:
    from dafm_core.reporting.cases_section import (
        captions_table,
        hits_table,
        list_table,
        reasons_table,
    )
    from dafm_core.reporting.saying import print_notes, say
    from dafm_core.reporting.terminal import print_table

    print_notes(cases.notes)
    if len(cases) > SHOWN_IN_FULL:
        print_table(list_table(cases, fuser, limit=LISTED))
        return
    for row in range(len(cases)):
        print_table(hits_table(cases, row))
        if found := captions_table(cases, row, captions):
            print_table(found)
        print_table(reasons_table(cases, fuser, row))
        say()
