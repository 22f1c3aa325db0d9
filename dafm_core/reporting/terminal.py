"""Tables and progress bars on the terminal, with rich; nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from dafm_core.scoring import Progress


def print_records(title: str, records: Sequence[Mapping[str, str]]) -> None:
    """Print dictionaries with the same keys as a table; columns that are empty throughout are left
    out.
    """
    console = Console()
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


def print_record(record: Mapping[str, str]) -> None:
    """Print one dictionary, a line per key; empty values are left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in record.items():
        if value:
            table.add_row(key, Text(value))
    Console().print(table)


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
            rate = f"{task.speed:,.0f}/s" if task.speed else ""
            bars.update(tasks[stage], completed=done, total=total, rate=rate)

        yield report
