"""Which columns of a table fit a width, and how wide each is: a number is never shortened.

A table that is too wide for the terminal folds its names and titles, then leaves out intervals,
then whole columns; what is left out is named. How the rest is drawn is said in ``terminal.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from rich.cells import cell_len, chop_cells

from dafm_core.ground.printable import printable
from dafm_core.tables.cells import Cell, Table

GAP: Final = 2
"""Blank places between columns."""
LEAST_NAME: Final = 12
"""A name is folded over several lines of at least so many places."""
LEAST_TITLE: Final = 10


@dataclass(frozen=True)
class Layout:
    """What of a table is shown.

    Parameters
    ----------
    columns : tuple of int
        Positions of the columns shown, in order.
    widths : tuple of int
        Of each of them, in places of the terminal.
    noted : tuple of bool
        Whether the notes of each of them are shown, below its numbers.
    left_out : tuple of str
        What is not shown: names of columns, then which intervals, in words.
    """

    columns: tuple[int, ...]
    widths: tuple[int, ...]
    noted: tuple[bool, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Widths:
    """Places that each column wants, those that keep its title on two lines, and those it cannot
    do without.
    """

    wanted: tuple[int, ...]
    fair: tuple[int, ...]
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
    for noted in _stages(table):
        widths = _widths(table, noted)
        if _total(widths.least, everything) <= width:
            shown = everything
            break
    else:
        shown = _fitting(table, widths.least, width)
    left_out = [printable(table.names[c]) for c in everything if c not in shown]
    if unnoted := _unnoted(table, noted):
        left_out.append(unnoted)
    kept = tuple(noted[column] for column in shown)
    return Layout(shown, _stretched(widths, shown, width), kept, tuple(left_out))


def _stages(table: Table) -> list[tuple[bool, ...]]:
    """Return which columns have notes shown: all, then those that decide, then none."""
    having = tuple(
        any(row[column].note for row in table.rows) for column in range(len(table.columns))
    )
    deciding = tuple(
        has and column.essential for has, column in zip(having, table.columns, strict=True)
    )
    return list(dict.fromkeys([having, deciding, (False,) * len(having)]))


def _unnoted(table: Table, noted: Sequence[bool]) -> str:
    """Return which intervals are not shown, in words."""
    everything = _stages(table)[0]
    if tuple(noted) == everything:
        return ""
    kept = [printable(n) for n, shown in zip(table.names, noted, strict=True) if shown]
    return f"intervals but those of {' and '.join(kept)}" if kept else "intervals"


def titles(table: Table) -> tuple[str, ...]:
    """Return what stands above each column; where columns are grouped, below their group."""
    return tuple(column.short if column.group else column.name for column in table.columns)


def group_lines(table: Table, layout: Layout) -> list[str]:
    """Return the lines that stand above the titles of columns: groups, each over a rule as wide as
    its columns; none where no column shown has a group.
    """
    shown = list(zip(layout.columns, layout.widths, strict=True))
    blocks = []
    for group, of_group in groupby(shown, key=lambda pair: table.columns[pair[0]].group):
        widths = [width for _, width in of_group]
        width = sum(widths) + GAP * (len(widths) - 1)
        words = fold(printable(group), width).split("\n") if group else []
        blocks.append((width, [*words, *(["─" * width] if group else [])]))
    height = max(len(words) for _, words in blocks)
    return [
        (" " * GAP).join(_centred(words, width, height - line) for width, words in blocks).rstrip()
        for line in range(height)
    ]


def _centred(words: Sequence[str], width: int, from_below: int) -> str:
    """Return the line of a block that stands so many lines above its end, in ``width`` places."""
    text = words[-from_below] if from_below <= len(words) else ""
    left = (width - cell_len(text)) // 2
    return " " * left + text + " " * (width - cell_len(text) - left)


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


def _widths(table: Table, noted: Sequence[bool]) -> _Widths:
    wanted, fair, least = [], [], []
    groups = table.groups or [("", len(table.columns))]
    alone = [bool(group) and n == 1 for group, n in groups for _ in range(n)]
    for column, title in enumerate(titles(table)):
        cells, with_notes = [row[column] for row in table.rows], noted[column]
        numbers = max((_width(cell, with_notes) for cell in cells if not cell.is_text), default=1)
        names = max((_width(cell, with_notes) for cell in cells if cell.is_text), default=1)
        head = cell_len(printable(title))
        words = printable(title).split()
        if alone[column]:
            words += printable(table.columns[column].group).split()
        word = max(map(cell_len, words), default=1)
        wanted.append(max(numbers, names, head))
        least.append(max(numbers, min(names, LEAST_NAME), min(word, LEAST_TITLE)))
        fair.append(_two_lines(printable(title), least[-1]))
    return _Widths(tuple(wanted), tuple(fair), tuple(least))


def _two_lines(title: str, least: int) -> int:
    """Return the places, at least so many, in which a title takes no more than two lines."""
    return next(
        n for n in range(least, least + cell_len(title) + 1) if fold(title, n).count("\n") < 2
    )


def _width(cell: Cell, with_notes: bool) -> int:
    return max(cell_len(printable(cell.text)), cell_len(printable(cell.note)) if with_notes else 0)


def _total(widths: Sequence[int], columns: Sequence[int]) -> int:
    return sum(widths[column] for column in columns) + GAP * (len(columns) - 1)


def _fitting(table: Table, least: Sequence[int], width: int) -> tuple[int, ...]:
    """Return the columns that are left when the last ones go, essential ones last of all."""
    order = sorted(range(1, len(table.columns)), key=lambda c: (table.columns[c].essential, -c))
    shown = list(range(len(table.columns)))
    for column in order:
        if _total(least, shown) <= width:
            break
        shown.remove(column)
    return tuple(shown)


def _stretched(widths: _Widths, shown: Sequence[int], width: int) -> tuple[int, ...]:
    """Return each shown column's least width and what is to spare: for titles on two lines first,
    then for all; those that lack least come first.
    """
    given = {column: min(widths.least[column], width) for column in shown}
    spare = width - _total(widths.least, shown)
    for goal in (widths.fair, widths.wanted):
        for column in sorted(shown, key=lambda c: goal[c] - given[c]):
            more = max(0, min(spare, goal[column] - given[column]))
            given[column] += more
            spare -= more
    return tuple(given[column] for column in shown)
