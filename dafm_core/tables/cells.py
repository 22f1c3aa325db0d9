"""Tables as values, and how one number becomes the text of a cell: the same in every output format.

Shares become percent here and nowhere else. Which tables there are is said by the modules that make
them; how one looks on a terminal, on a page or in LaTeX, by the modules that draw it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from dafm_core.ground.undecided import WORD

if TYPE_CHECKING:
    from dafm_core.comparison.rows import Interval

_BELOW_ALL: Final = -1e9
"""What undecided cells are sorted by; a number that a page can read, unlike -inf."""

Mark: TypeAlias = Literal["", "best", "tied", "clear"]
MEANINGS: Final[dict[Mark, str]] = {
    "best": "the best of its column",
    "tied": "not clearly behind the best",
    "clear": "a clear difference",
}
"""What a mark says; each way of drawing has its own look for it."""
CLEARLY: Final = (
    "Clearly: the 95 % interval of the paired difference excludes zero and its adjusted p is below "
    "0.05."
)
"""The one rule for marks, charts and the verdict."""
Sign: TypeAlias = Literal["†", "‡", "↓"]
SIGNS: Final[dict[Sign, str]] = {
    "†": "clearly better than the best single model",
    "‡": "clearly better than the best static rule",
    "↓": "clearly worse than the best single model",
}


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table.

    Parameters
    ----------
    text : str
    value : float or str
        What it is sorted by, unrounded.
    note : str
        Shown smaller beside it: its interval.
    mark : {"", "best", "tied", "clear"}
    span : tuple of float, optional
        The ends of the interval, unrounded, where the note is one.
    signs : tuple of Sign
        Shown as superscripts.
    """

    text: str
    value: float | str
    note: str = ""
    mark: Mark = ""
    span: tuple[float, float] | None = None
    signs: tuple[Sign, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether it holds a name, which may be folded, and no number, which may not."""
        return isinstance(self.value, str)


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Parameters
    ----------
    name : str
        Says by itself what the column holds.
    title : str
        Shorter, below the title of its group; the name where there is none.
    group : str
        What neighbouring columns have in common, e.g. the category or which ranking they read.
    essential : bool
        Whether a narrow terminal leaves it out last.
    """

    name: str
    title: str = ""
    group: str = ""
    essential: bool = False

    @property
    def short(self) -> str:
        """The title where there is one, else the name."""
        return self.title or self.name


@dataclass(frozen=True)
class Table:
    """A caption, columns, rows of cells, and each row's kind (rules separate kinds).

    Parameters
    ----------
    caption : str
        What is shown, on which data.
    columns : tuple of Column
    rows : tuple of tuple of Cell
    kinds : tuple of str
        One per row. A row of kind ``delta`` belongs to the row above.
    notes : tuple of str
        Sentences that a table on its own needs, e.g. what its metrics are.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...] = field(repr=False)
    kinds: tuple[str, ...] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether a column holds numbers only."""
        return tuple(
            all(not row[column].is_text for row in self.rows) for column in range(len(self.columns))
        )

    @property
    def has_notes(self) -> bool:
        """Whether any cell has a note."""
        return any(cell.note for row in self.rows for cell in row)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Titles of groups of columns and how many columns each spans; empty without groups."""
        if not any(column.group for column in self.columns):
            return []
        return [(name, len([*of])) for name, of in groupby(c.group for c in self.columns)]

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The marks that occur, in the order of :data:`MEANINGS`."""
        found = {cell.mark for row in self.rows for cell in row}
        return tuple(mark for mark in MEANINGS if mark in found)

    @property
    def signs(self) -> tuple[Sign, ...]:
        """The signs that occur, in the order of :data:`SIGNS`."""
        found = {sign for row in self.rows for cell in row for sign in cell.signs}
        return tuple(sign for sign in SIGNS if sign in found)

    def legend(self, looks: dict[Mark, str], *, signs: bool = True) -> str:
        """Return what the marks and signs that occur mean, given how each mark looks.

        Examples
        --------
        >>> one = table("A", ["a"], [[Cell("1", 1.0, mark="best")]])
        >>> one.legend({"best": "Bold"})
        'Bold: the best of its column.'
        """
        said: dict[str, list[str]] = {}
        for mark in self.marks:
            said.setdefault(looks[mark], []).append(MEANINGS[mark])
        parts = [f"{look}: {', or '.join(meanings)}" for look, meanings in said.items()]
        parts += [f"{sign} {SIGNS[sign]}" for sign in self.signs if signs]
        if not parts:
            return ""
        needs_rule = {"tied", "clear"} & set(self.marks) or (signs and self.signs)
        return "; ".join(parts) + "." + (f" {CLEARLY}" if needs_rule else "")

    def _repr_html_(self) -> str:
        """Return the table as notebooks show it."""
        from dafm_core.tables.markup import notebook_html

        return notebook_html(self)


def table(
    caption: str,
    columns: Sequence[Column | str],
    rows: Iterable[Sequence[Cell]],
    *,
    kinds: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    essential: Sequence[str] = (),
) -> Table:
    """Return a table; where no kinds are given, all rows are of one kind.

    ``essential`` names columns that are given by name and left out last.
    """
    cells = tuple(map(tuple, rows))
    kinds = ("",) * len(cells) if kinds is None else tuple(kinds)
    heads = tuple(
        Column(head, essential=head in essential) if isinstance(head, str) else head
        for head in columns
    )
    return Table(caption, heads, cells, kinds, tuple(notes))


def text_cell(text: str) -> Cell:
    """Return a cell of plain text."""
    return Cell(text, text)


def count_cell(count: int) -> Cell:
    """Return a cell of a whole number."""
    return Cell(str(count), count)


def number_cell(number: float, *, digits: int = 2, signed: bool = False) -> Cell:
    """Return a cell of a number as it is."""
    return Cell(f"{number:{'+' if signed else ''}.{digits}f}", number)


def in_percent(share: float) -> float:
    """Return a share, e.g. of queries, in percent; or a difference of shares in points."""
    return 100 * share


def percent(share: float, *, digits: int = 2, signed: bool = False) -> str:
    """Return a share as text in percent, without the sign %.

    Examples
    --------
    >>> percent(0.12345), percent(0.012, signed=True, digits=1)
    ('12.35', '+1.2')
    """
    return f"{in_percent(share):{'+' if signed else ''}.{digits}f}"


def percent_cell(
    share: float, span: tuple[float, float] | None = None, *, signed: bool = False, mark: Mark = ""
) -> Cell:
    """Return a cell of a share in percent, with its interval where there is one.

    A NaN is undecided, and below every number where rows are sorted.
    """
    if math.isnan(share):
        return Cell(WORD, _BELOW_ALL)
    if span is None:
        return Cell(percent(share, signed=signed), in_percent(share), mark=mark)
    low, high = span
    note = f"[{percent(low, signed=signed)}, {percent(high, signed=signed)}]"
    ends = in_percent(low), in_percent(high)
    return Cell(percent(share, signed=signed), in_percent(share), note, mark, ends)


def interval_cell(interval: Interval) -> Cell:
    """Return a cell of a share and its interval, in percent."""
    return percent_cell(interval.value, (interval.low, interval.high))


def rank_cell(rank: float, depth: int | None = None) -> Cell:
    """Return a cell of an expected rank, which ties make fractional; - where nothing is ranked.

    It is marked where the rank is among the first ``depth``.

    Examples
    --------
    >>> [rank_cell(rank).text for rank in (3.0, 1234567.5, float("inf"))]
    ['3', '1234567.5', '-']
    """
    text = f"{rank:.1f}".removesuffix(".0") if rank < float("inf") else "-"
    return Cell(text, rank, mark="best" if depth is not None and rank <= depth else "")


def p_text(p: float) -> str:
    """Return a p-value as shown.

    Examples
    --------
    >>> p_text(0.0412), p_text(0.0004)
    ('0.041', '<0.001')
    """
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def p_cell(p: float) -> Cell:
    """Return a cell of a p-value."""
    return Cell(p_text(p), p)


def mark_best(rows: Sequence[Sequence[Cell]]) -> list[tuple[Cell, ...]]:
    """Mark the best of every column of numbers, as shown; equals share it."""
    cells = [list(row) for row in rows]
    for column in range(1, len(cells[0]) if cells else 0):
        decided = [row for row in cells if row[column].text != WORD]
        best = max((float(row[column].text) for row in decided), default=0.0)
        for row in decided:
            if float(row[column].text) == best:
                row[column] = replace(row[column], mark="best")
    return [tuple(row) for row in cells]
