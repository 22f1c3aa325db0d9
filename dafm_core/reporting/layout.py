"""Which columns of a table fit a width, and how wide each is: a number is never shortened.

A table that is too wide for the terminal folds its names and titles, then leaves out intervals,
then whole columns; what is left out is named. How the rest is drawn is said in ``terminal.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, chop_cells

from dafm_core.ground.printable import printable
from dafm_core.reporting.cells import Cell, Table

GAP: Final = 2
"""Blank places between columns."""
LEAST_NAME: Final = 12
"""A name is folded over several lines of at least so many places."""
LEAST_TITLE: Final = 8


@dataclass(frozen=True)
class Layout:
    """What of a table is shown.

    Parameters
    ----------
    columns : tuple of int
        Positions of the columns shown, in order.
    widths : tuple of int
        Of each of them, in places of the terminal.
    with_notes : bool
        Whether the notes of cells are shown below them.
    left_out : tuple of str
        What is not shown: titles of columns, and "intervals".
    """

    columns: tuple[int, ...]
    widths: tuple[int, ...]
    with_notes: bool
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Widths:
    """Places that each column wants, and those it cannot do without."""

    wanted: tuple[int, ...]
    least: tuple[int, ...]


def lay_out(table: Table, width: int) -> Layout:
    """Return the layout that shows most of a table within ``width`` places.

    Parameters
    ----------
    table : Table
    width : int
        Places in a line of the terminal. A first column of numbers wider than that is folded;
        nothing else can be.
    """
    everything = tuple(range(len(table.columns)))
    has_notes = any(cell.note for row in table.rows for cell in row)
    for with_notes in (True, False) if has_notes else (False,):
        widths = _widths(table, with_notes)
        if _total(widths.least, everything) <= width:
            shown = everything
            break
    else:
        shown = _fitting(table, widths.least, width)
    left_out = [printable(table.columns[c]) for c in everything if c not in shown]
    if has_notes and not with_notes:
        left_out.append("intervals")
    return Layout(shown, _stretched(widths, shown, width), with_notes, tuple(left_out))


def fold(text: str, width: int) -> str:
    r"""Return a text on lines of at most ``width`` places, broken after blanks and hyphens if any.

    Examples
    --------
    >>> fold("captions-sentence-transformer", 12)
    'captions-\nsentence-\ntransformer'
    """
    lines = [""]
    for piece in re.split(r"(?<=[-_/+ ])", text):
        for chunk in chop_cells(piece, width):
            if cell_len(lines[-1] + chunk.rstrip()) > width:
                lines.append("")
            lines[-1] += chunk
    return "\n".join(line.rstrip() for line in lines)


def _widths(table: Table, with_notes: bool) -> _Widths:
    wanted, least = [], []
    for column, title in enumerate(table.columns):
        cells = [row[column] for row in table.rows]
        numbers = max((_width(cell, with_notes) for cell in cells if not _is_text(cell)), default=1)
        names = max((_width(cell, with_notes) for cell in cells if _is_text(cell)), default=1)
        head = cell_len(printable(title))
        word = max((cell_len(word) for word in printable(title).split()), default=1)
        wanted.append(max(numbers, names, head))
        least.append(max(numbers, min(names, LEAST_NAME), min(word, LEAST_TITLE)))
    return _Widths(tuple(wanted), tuple(least))


def _is_text(cell: Cell) -> bool:
    return isinstance(cell.value, str)


def _width(cell: Cell, with_notes: bool) -> int:
    return max(cell_len(printable(cell.text)), cell_len(printable(cell.note)) if with_notes else 0)


def _total(widths: Sequence[int], columns: Sequence[int]) -> int:
    return sum(widths[column] for column in columns) + GAP * (len(columns) - 1)


def _fitting(table: Table, least: Sequence[int], width: int) -> tuple[int, ...]:
    """Return the columns that are left when the last ones go, essential ones last of all."""
    order = sorted(
        range(1, len(table.columns)), key=lambda c: (table.columns[c] in table.essential, -c)
    )
    shown = list(range(len(table.columns)))
    for column in order:
        if _total(least, shown) <= width:
            break
        shown.remove(column)
    return tuple(shown)


def _stretched(widths: _Widths, shown: Sequence[int], width: int) -> tuple[int, ...]:
    """Return each shown column's least width and what is to spare, those that lack least first."""
    given = {column: min(widths.least[column], width) for column in shown}
    spare = width - _total(widths.least, shown)
    for column in sorted(shown, key=lambda c: widths.wanted[c] - widths.least[c]):
        more = max(0, min(spare, widths.wanted[column] - given[column]))
        given[column] += more
        spare -= more
    return tuple(given[column] for column in shown)
