"""Tables and progress bars on the terminal, with rich; sentences and JSON: ``saying.py``.

Which of them a command prints is said in the command, or in ``summaries.py``.

Tables are the values of ``cells.py``, so the terminal shows what a page or a LaTeX file shows.
Every text goes through ``printable`` and is taken as it is, never as rich's markup.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from dafm_core.ground.printable import printable
from dafm_core.reporting.layout import GAP, fold, group_lines, lay_out, titles
from dafm_core.reporting.progress import ProgressLines
from dafm_core.reporting.saying import go_on_unread, say
from dafm_core.tables import cells

if TYPE_CHECKING:
    from dafm_core.ground.progress import Progress

logger = logging.getLogger(__name__)

_STYLES: Final[dict[cells.Mark, str]] = {
    "best": "bold",
    "tied": "underline",
    "clear": "bold",
    "": "",
}
_LOOKS: Final[dict[cells.Mark, str]] = {"best": "Bold", "tied": "underlined", "clear": "Bold"}
LONG_TEXT: Final = 60
"""Characters; what a longer text wants of a table's width."""
FOLDED_TO: Final = 1.4
"""How many times the terminal's width a table of texts may want, to be folded into it."""
_PIPE_WIDTH: Final = 180
"""Columns where there is no terminal to ask."""


def print_table(table: cells.Table, *, width: int | None = None) -> None:
    """Print a table: the best bold, what is not clearly behind it underlined, intervals below.

    No number is shortened: on a narrow terminal names are folded, then intervals and columns are
    left out, and a line below the table says which.

    Parameters
    ----------
    table : Table
    width : int, optional
        Places in a line; by default those of the terminal.
    """
    console = console_of(width)
    layout = lay_out(table, console.width)
    for line in table.caption.split("\n"):
        console.print(Text(printable(line), style="italic"))
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    shown = list(zip(layout.columns, layout.widths, layout.noted, strict=True))
    for line in group_lines(table, layout):
        console.print(Text(line), soft_wrap=True)
    heads = titles(table)
    for column, places, _ in shown:
        grid.add_column(
            Text(fold(printable(heads[column]), places)),
            justify="right" if table.numeric[column] else "left",
            overflow="fold",
            width=places,
        )
    for row in table.rows:
        grid.add_row(*(_text(row[column], places, noted) for column, places, noted in shown))
    _draw(console, grid)
    if legend := table.legend(_LOOKS, signs=False):
        console.print(Text(legend, style="dim"))
    if layout.left_out:
        left_out = ", ".join(layout.left_out)
        line = f"Left out at {console.width} columns: {left_out}. A wider terminal shows them."
        console.print(Text(line, style="dim"))


def _text(cell: cells.Cell, places: int, with_note: bool) -> Text:
    text = Text(fold(printable(cell.text), places), style=_STYLES[cell.mark])
    if with_note and cell.note:
        text.append(f"\n{printable(cell.note)}", style="dim not bold not underline")
    return text


class SteadyConsole(Console):
    """A console whose reader may leave, as ``head`` does."""

    def on_broken_pipe(self) -> None:
        """Go on without a reader."""
        go_on_unread()


def console_of(width: int | None = None) -> Console:
    """Return a console on standard output, as wide as its terminal or as is said."""
    console = SteadyConsole(width=width)
    return console if width or console.is_terminal else SteadyConsole(width=_PIPE_WIDTH)


def _draw(console: Console, grid: Table) -> None:
    """Print a grid without the blanks that fill its last column."""
    for line in Segment.split_lines(console.render(grid)):
        kept = list(line)
        while kept and not kept[-1].text.strip():
            kept.pop()
        if kept:
            kept.append(Segment(kept[-1].text.rstrip(), kept.pop().style))
        console.print(Segments([*kept, Segment.line()]), soft_wrap=True)


def print_records(title: str, records: Sequence[Mapping[str, str]]) -> None:
    """Print dictionaries with the same keys as a table; columns that are empty throughout are left
    out. Where texts would be folded to narrow columns, each record is printed by itself.
    """
    console = console_of()
    if not records:
        say(f"no {title}")
        return
    shown = [key for key in records[0] if any(record[key] for record in records)]
    widths = [max(len(key), *(len(r[key]) for r in records)) for key in shown]
    if sum(min(width, LONG_TEXT) + GAP for width in widths) > FOLDED_TO * console.width:
        say(title, style="bold")
        for record in records:
            say(record[shown[0]])
            print_record({f"  {key}": record[key] for key in shown[1:]})
        return
    table = Table(
        title=Text(title), title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    for key in shown:
        table.add_column(Text(key), overflow="fold", no_wrap=key == "name")
    for record in records:
        table.add_row(*(Text(printable(record[key])) for key in shown))
    _draw(console, table)


def print_record(record: Mapping[str, str]) -> None:
    """Print one dictionary, a line per key; empty values are left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in record.items():
        if value:
            table.add_row(Text(key), Text(printable(value)))
    _draw(console_of(), table)


def print_facts(facts: Mapping[str, Sequence[str]]) -> None:
    """Print sentences beside what each is about; long ones are folded between words."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, sentences in facts.items():
        for number, sentence in enumerate(sentences):
            table.add_row(Text("" if number else name), Text(printable(sentence)))
    _draw(console_of(), table)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show one bar per stage, with rate and time left, on standard error; a line a minute where
    that is a file, nothing where warnings are not wanted either.
    """
    if not logger.isEnabledFor(logging.WARNING):
        yield lambda stage, done, total: None
        return
    if not sys.stderr.isatty():
        yield ProgressLines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = [
        TextColumn("{task.description:>12}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    ]
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(printable(stage), total=total, completed=done, rate="")
            task = bars.tasks[bars.task_ids.index(tasks[stage])]
            rate = f"{task.speed:,.0f}/s" if task.speed and task.speed >= 1 else ""
            bars.update(tasks[stage], completed=done, total=total, rate=rate)

        yield report
