"""Tables as values, and how one number becomes the text of a cell: the same in every output format.

Shares become percent here and nowhere else in reporting. Which tables there are is said by the
modules that make them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from dafm_core.ground.undecided import WORD

if TYPE_CHECKING:
    from dafm_core.comparison.rows import Interval

_BELOW_ALL: Final = -1e9
"""What undecided cells are sorted by; a number that a page can read, unlike -inf."""

Mark: TypeAlias = Literal["", "best", "second"]


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
    mark : {"", "best", "second"}
    """

    text: str
    value: float | str
    note: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Table:
    """A caption, column titles, rows of cells, and each row's kind (rules separate kinds).

    Parameters
    ----------
    essential : tuple of str
        Titles of the columns that a narrow terminal leaves out last.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...] = field(repr=False)
    kinds: tuple[str, ...] = field(repr=False)
    essential: tuple[str, ...] = ()

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether a column holds numbers only."""
        return tuple(
            all(not isinstance(row[column].value, str) for row in self.rows)
            for column in range(len(self.columns))
        )


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    kinds: Sequence[str] | None = None,
    essential: Sequence[str] = (),
) -> Table:
    """Return a table; where no kinds are given, all rows are of one kind."""
    cells = tuple(map(tuple, rows))
    kinds = ("",) * len(cells) if kinds is None else tuple(kinds)
    return Table(caption, tuple(columns), cells, kinds, tuple(essential))


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
    note = f"[{', '.join(percent(end, signed=signed) for end in span)}]" if span else ""
    return Cell(percent(share, signed=signed), in_percent(share), note, mark)


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
    """Mark the best and the second best of every column of numbers, as shown; ties share it."""
    cells = [list(row) for row in rows]
    for column in range(1, len(cells[0]) if cells else 0):
        decided = [row for row in cells if row[column].text != WORD]
        levels = sorted({float(row[column].text) for row in decided}, reverse=True)
        marks: dict[float, Mark] = dict(zip(levels, ("best", "second"), strict=False))
        for row in decided:
            row[column] = replace(row[column], mark=marks.get(float(row[column].text), ""))
    return [tuple(row) for row in cells]
