"""What a comparison can be written to: the options, and writing what was asked for.

Arguments that do not write stand in ``arguments.py``; whether a place can be written, for every
command, in ``outputs.py``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dafm_core.errors import OptionError

if TYPE_CHECKING:
    from dafm_core.comparison.inspection import Cost
    from dafm_core.comparison.result import Comparison
    from dafm_core.tables.cells import Table

Export: TypeAlias = Callable[[str, Callable[[Path], Path]], None]
"""Writes one export, by its option and a function that takes the path, if it was asked for."""


def add_date(parser: argparse.ArgumentParser) -> None:
    """Add --date, read where the command line is recorded."""
    parser.add_argument(
        "--date", action="store_true", help="put the time into what is written (else same bytes)"
    )


def add_exports(parser: argparse.ArgumentParser) -> None:
    """Add the files a comparison can be written to."""
    add_date(parser)
    parser.add_argument("--report", metavar="FILE.html", type=Path, help="a page to look at")
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="everything, for machines; - prints it"
    )
    parser.add_argument("--csv", metavar="FILE", type=Path, help="a line per row and metric")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="the table")
    add_latex(parser)
    parser.add_argument(
        "--per-query", metavar="FILE.parquet", type=Path, help="every query's metrics and types"
    )
    parser.add_argument(
        "--by-type", action="store_true", help="print the table of query types, too"
    )
    parser.add_argument(
        "--type-table",
        metavar="FILE.parquet",
        type=Path,
        help="a line per query type, row and metric; as CSV where the name ends in .csv",
    )


def add_latex(parser: argparse.ArgumentParser) -> None:
    """Add --latex and how it is set."""
    parser.add_argument("--latex", metavar="FILE", type=Path, help="the table, with booktabs")
    parser.add_argument(
        "--latex-span",
        choices=("page", "column"),
        default="page",
        help="whether it spans a page of two columns (default) or stands in one",
    )
    parser.add_argument("--latex-intervals", action="store_true", help="intervals below numbers")
    parser.add_argument(
        "--latex-no-marks", action="store_true", help="no daggers where a difference is clear"
    )


def latex_text(args: argparse.Namespace, table: Table, *, label: str = "tab:dafm") -> str:
    """Return a table as LaTeX, as the options of ``add_latex`` ask for."""
    from dafm_core.reporting.latex import to_latex

    return to_latex(
        table,
        label=label,
        span=args.latex_span,
        intervals=args.latex_intervals,
        marks=not args.latex_no_marks,
    )


EXPORTS = ("report", "json", "csv", "markdown", "latex", "per_query", "type_table")
PRINTED = ("json", "csv", "markdown", "latex")
"""Exports that are text for programs: ``-`` is standard output."""


@contextmanager
def exporting(args: argparse.Namespace) -> Iterator[Export]:
    """Give a function that writes one export, if it was asked for, and says where.

    That the places can be written is looked at first, before hours of work. Where an export is
    ``-`` it is all that standard output gets: whatever else is said in the block goes to standard
    error.
    """
    from dafm_core.reporting.exports import check_place
    from dafm_core.reporting.saying import say

    asked = {name: path for name in EXPORTS if (path := getattr(args, name, None)) is not None}
    printed = [name for name, path in asked.items() if str(path) == "-"]
    unfit = [f"--{name.replace('_', '-')}" for name in printed if name not in PRINTED]
    if unfit or len(printed) > 1:
        wrong = unfit or [f"--{name}" for name in printed]
        raise OptionError(f"{', '.join(wrong)}: expected a file, got -. Only one text is printed.")
    for path in asked.values():
        if str(path) != "-":
            check_place(path)
    stdout = sys.stdout

    def export(name: str, write: Callable[[Path], Path]) -> None:
        if name in printed:
            with redirect_stdout(stdout):
                write(Path("-"))
        elif name in asked:
            say(str(write(asked[name])))

    with redirect_stdout(sys.stderr) if printed else nullcontext():
        yield export


def json_of(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return what --json writes: a comparison, or several under one key."""
    records = [comparison.to_json() for comparison in comparisons]
    return records[0] if len(records) == 1 else {"comparisons": records}


def write_exports(
    export: Export,
    args: argparse.Namespace,
    comparisons: Sequence[Comparison],
    table: Table,
    *,
    costs: Mapping[str, Cost],
    stores: Sequence[str],
) -> None:
    """Write every file that was asked for, and say so."""
    import polars as pl

    from dafm_core.comparison.by_type import long_frame
    from dafm_core.reporting import exports
    from dafm_core.reporting.html import write_comparison_page

    def joined(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        named = [frame.with_columns(protocol=pl.lit(name)) for name, frame in frames.items()]
        return pl.concat(named, how="diagonal")

    export("json", lambda path: exports.write_json(path, json_of(comparisons)))
    export("csv", lambda path: exports.write_text(path, exports.to_csv(*comparisons)))
    export("markdown", lambda path: exports.write_text(path, exports.to_markdown(table)))
    export("latex", lambda path: exports.write_text(path, latex_text(args, table)))
    frames = {c.protocol: c.frame for c in comparisons}
    export("per_query", lambda path: exports.write_frame(path, joined(frames)))
    by_type = {c.protocol: long_frame(c.by_type) for c in comparisons}
    export("type_table", lambda path: exports.write_frame(path, joined(by_type)))
    export(
        "report",
        lambda path: write_comparison_page(path, comparisons, costs=costs, stores=stores),
    )
