"""Tables and progress bars on the terminal, with rich; nothing is computed here.

Tables come from ``tables.py``, so the terminal shows what a page or a LaTeX file shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dafm_core.reporting.findings import findings, headroom_table, singles_table
from dafm_core.reporting.tables import Cell, Json, comparison_table, difference_table
from dafm_core.reporting.tables import Table as Cells

if TYPE_CHECKING:
    from dafm_core.scoring.score import Progress

_STYLES = {"best": "bold", "second": "underline", "": ""}
_PIPE_WIDTH = 180
"""Columns where there is no terminal to ask."""


def print_table(cells: Cells) -> None:
    """Print a table: the best bold, the runner-up underlined, a line between kinds of rows.

    What stands smaller beside a value, e.g. its interval, is shown below it where the terminal is
    wide enough for that.
    """
    console = _console()
    table = _lay_out(cells, notes=True)
    if table.__rich_measure__(console, console.options).maximum > console.width:
        table = _lay_out(cells, notes=False)
    console.print(table)


def _lay_out(cells: Cells, *, notes: bool) -> Table:
    table = Table(title=cells.caption, title_justify="left", box=None, pad_edge=False)
    for number, name in enumerate(cells.columns):
        numeric = all(not isinstance(row[number].value, str) for row in cells.rows)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    following = [*cells.kinds[1:], *cells.kinds[-1:]]
    for row, kind, after in zip(cells.rows, cells.kinds, following, strict=True):
        table.add_row(*(_text(cell, notes) for cell in row), end_section=kind != after)
    return table


def _text(cell: Cell, notes: bool) -> Text:
    text = Text(cell.text, style=_STYLES[cell.mark])
    if notes and cell.note:
        text.append(f"\n{cell.note}", style="dim not bold not underline")
    return text


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def print_records(title: str, records: Sequence[Mapping[str, str]]) -> None:
    """Print dictionaries with the same keys as a table; columns that are empty throughout are left
    out.
    """
    console = _console()
    if not records:
        console.print(f"no {title}")
        return
    shown = [key for key in records[0] if any(record[key] for record in records)]
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for key in shown:
        table.add_column(key, overflow="fold", no_wrap=key == "name")
    for record in records:
        table.add_row(*(Text(record[key]) for key in shown))
    console.print(table)


def print_comparison(record: Json) -> None:
    """Print a comparison: all rows, what learned fusers gain on the best rule, audits, verdict."""
    console = _console()
    print_table(comparison_table(record))
    learned = {row["name"] for row in record["rows"] if row["kind"] == "learned"}
    if learned:
        differences = difference_table(record, [*record["metrics"], "mean"])
        rows = tuple(row for row in differences.rows if row[0].text in learned)
        console.print()
        print_table(replace(differences, rows=rows, kinds=tuple(row[0].text for row in rows)))
    console.print()
    print_table(singles_table(record["audits"]))
    console.print()
    for line in findings(record["audits"]):
        console.print(line, highlight=False)
    console.print()
    console.print(Text(record["verdict"]["reason"], style="bold"))


def print_inspection(record: Json) -> None:
    """Print what ``dafm inspect`` found."""
    console = _console()
    counts = f"{record['n_queries']} queries in {record['n_groups']} groups x {record['n_gallery']}"
    console.print(f"{record['store']}: {record['protocol']}, {counts} images", highlight=False)
    for line in (*record["problems"], *(f"unfinished: {name}" for name in record["unfinished"])):
        console.print(line, highlight=False)
    print_records("providers", [_passport_cells(passport) for passport in record["providers"]])
    if record["damage"] is not None:
        console.print(f"checksums: {len(record['damage'])} damaged blocks")
    if record["audits"] is None:
        console.print("no targets: nothing can be measured here")
        return
    console.print()
    print_table(headroom_table(record["audits"]))
    console.print()
    print_table(singles_table(record["audits"]))
    console.print()
    for line in findings(record["audits"]):
        console.print(line, highlight=False)


def _passport_cells(passport: Json) -> dict[str, str]:
    fingerprint = {key: str(value)[:12] for key, value in passport["fingerprint"].items()}
    cost = passport["cost"]
    return {
        "name": passport["provider"],
        "source": passport["source"],
        "dtype": passport["dtype"],
        "cells tied": f"{100 * passport['tied_share']:.2f} %",
        "missing": str(len(passport.get("missing_images", [])) or ""),
        "ms/query": f"{cost['ms_per_query']:.2f}" if "ms_per_query" in cost else "",
        "fingerprint": "  ".join(f"{key}={value}" for key, value in fingerprint.items()),
    }


def print_record(record: Mapping[str, str]) -> None:
    """Print one dictionary, a line per key; empty values are left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in record.items():
        if value:
            table.add_row(key, Text(value))
    _console().print(table)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show one bar per stage, with rate and time left, on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = [
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    ]
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, completed=done, rate="")
            task = bars.tasks[bars.task_ids.index(tasks[stage])]
            rate = f"{task.speed:,.0f}/s" if task.speed and task.speed >= 1 else ""
            bars.update(tasks[stage], completed=done, total=total, rate=rate)

        yield report
