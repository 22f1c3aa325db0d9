r"""A table as LaTeX that compiles into a paper: booktabs, grouped heads, a self-standing caption.

A table is set in the largest size in which it fits its column, as estimated from the widths of
Computer Modern. Where none fits, intervals go, then names wrap, and last the table is scaled; what
was done is said in a comment above it. No number is shortened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from dafm_core.tables.cells import Cell, Mark, Table

Span: TypeAlias = Literal["column", "page"]
WIDTHS: Final[dict[Span, float]] = {"column": 237.0, "page": 496.0}
"""Points of a column and of the text of two, in the templates of computer vision conferences."""
_LOOKS: Final[dict[Mark, str]] = {"best": "Bold", "tied": "underlined", "clear": "Bold"}
_COMMANDS: Final[dict[Mark, str]] = {
    "best": r"\textbf{%s}",
    "tied": r"\underline{%s}",
    "clear": r"\textbf{%s}",
    "": "%s",
}
_SIGNS: Final = {"†": r"\dagger", "‡": r"\ddagger", "↓": r"\downarrow"}
_LATEX: Final = {c: rf"\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "Δ": r"$\Delta$",
    "→": r"$\rightarrow$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "↓": r"$^{\downarrow}$",
    "−": "$-$",
    "±": r"$\pm$",
    "\n": " ",
}
_SIZES: Final = (
    (r"\normalsize", 1.0),
    (r"\small", 0.925),
    (r"\footnotesize", 0.85),
    (r"\scriptsize", 0.8),
)
"""With the width of a digit relative to one of normal size: small letters are wider."""
_PADDINGS: Final = (6.0, 4.0, 3.0, 2.0)
"""Of ``\\tabcolsep``, in points."""
_LATIN: Final = 0x17F
"""The last character that pdfLaTeX has letters for."""
_TINY: Final = 0.68
"""Width of a digit of an interval, in a table of any size, relative to one of normal size."""
_LEAST_NAME: Final = 52.0
"""Points below which a name is not wrapped."""


@dataclass(frozen=True)
class _Fit:
    """How a table is set: its size, its padding, and what had to be done."""

    size: str
    padding: float
    name_width: float | None
    with_intervals: bool
    scaled: bool


def to_latex(
    table: Table,
    *,
    label: str = "tab:dafm",
    span: Span = "page",
    intervals: bool = False,
    marks: bool = True,
) -> str:
    r"""Return a floating table for ``\usepackage{booktabs}``.

    Parameters
    ----------
    table : Table
    label : str
        For ``\ref``.
    span : {"page", "column"}
        Whether it spans both columns of a page (``table*``; in a paper of one column the same as
        ``table``) or stands in one.
    intervals : bool, default=False
        Set each interval small below its number.
    marks : bool, default=True
        Set daggers where a difference is clear.
    """
    if not marks:
        table = _without_signs(table)
    fit = _fit(table, WIDTHS[span], with_intervals=intervals)
    environment = "table*" if span == "page" else "table"
    caption = " ".join(filter(None, [table.caption, *table.notes, table.legend(_LOOKS)]))
    body = [
        rf"\begin{{tabular}}{{{_preamble(table, fit)}}}",
        r"\toprule",
        *_heads(table),
        r"\midrule",
        *_lines(table, with_intervals=fit.with_intervals),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if fit.scaled:
        body = [r"\resizebox{\linewidth}{!}{%", *body, "}"]
    return "\n".join(
        [
            *_comments(fit, asked=intervals),
            *_engine(table),
            rf"\begin{{{environment}}}",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{{label}}}",
            fit.size,
            rf"\setlength{{\tabcolsep}}{{{fit.padding:g}pt}}",
            *body,
            rf"\end{{{environment}}}",
            "",
        ]
    )


def escape(text: str) -> str:
    r"""Return a text with everything that LaTeX would read as a command written out.

    Examples
    --------
    >>> print(escape("a_b & 50 %"))
    a\_b \& 50 \%
    """
    return "".join(_LATEX.get(c, c) for c in text)


def _comments(fit: _Fit, *, asked: bool) -> list[str]:
    packages = r"\usepackage{booktabs,graphicx}" if fit.scaled else r"\usepackage{booktabs}"
    lines = [f"% needs {packages}"]
    if asked and not fit.with_intervals:
        lines.append("% intervals are left out: with them the table is wider than its column")
    if fit.scaled:
        lines.append("% wider than its column in every size, and scaled; leave columns out")
    return lines


def _engine(table: Table) -> list[str]:
    """Return a comment where a text has characters that pdfLaTeX cannot set."""
    texts = [table.caption, *table.names, *(cell.text for row in table.rows for cell in row)]
    beyond = {c for text in texts for c in text if ord(c) > _LATIN and c not in _LATEX}
    return ["% has letters beyond Latin: compile with XeLaTeX or LuaLaTeX"] if beyond else []


def _without_signs(table: Table) -> Table:
    rows = tuple(tuple(replace(cell, signs=()) for cell in row) for row in table.rows)
    return replace(table, rows=rows)


def _preamble(table: Table, fit: _Fit) -> str:
    name = "l" if fit.name_width is None else rf"p{{{fit.name_width:.0f}pt}}"
    first = name if not table.numeric[0] else "r"
    rest = ("r" if number else "l" for number in table.numeric[1:])
    return "@{}" + first + "".join(rest) + "@{}"


def _heads(table: Table) -> list[str]:
    """Return the titles; above them those of their groups, each over a rule."""
    titles = " & ".join(escape(column.short) for column in table.columns) + r" \\"
    if not table.groups:
        return [titles]
    cells, rules, start = [], [], 1
    for name, n_columns in table.groups:
        if name:
            cells.append(rf"\multicolumn{{{n_columns}}}{{c}}{{{escape(name)}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + n_columns - 1}}}")
        else:
            cells.append("& " * (n_columns - 1))
        start += n_columns
    return [" & ".join(cells) + r" \\", " ".join(rules), titles]


def _lines(table: Table, *, with_intervals: bool) -> list[str]:
    lines: list[str] = []
    for i, row in enumerate(table.rows):
        if i and table.kinds[i] != table.kinds[i - 1] and "delta" not in table.kinds[i - 1 : i + 1]:
            lines.append(r"\midrule")
        elif i and table.kinds[i - 1] == "delta" != table.kinds[i]:
            lines.append(
                r"\midrule" if _kind_before(table, i) != table.kinds[i] else r"\addlinespace"
            )
        lines.append(" & ".join(map(_shown, row)) + r" \\")
        if with_intervals and any(cell.span for cell in row):
            notes = (rf"{{\tiny {escape(c.note)}}}" if c.span else "" for c in row)
            lines.append(" & ".join(notes) + r" \\")
    return lines


def _kind_before(table: Table, place: int) -> str:
    """Return the kind of the last row above that is no difference."""
    return next((kind for kind in reversed(table.kinds[:place]) if kind != "delta"), "")


def _shown(cell: Cell) -> str:
    text = escape(cell.text)
    if not cell.is_text and text.startswith("-"):
        text = f"$-${text[1:]}"
    text = _COMMANDS[cell.mark] % text
    signs = "".join(_SIGNS[sign] for sign in cell.signs)
    # of no width, so that numbers stand under each other
    return text + (rf"\rlap{{$^{{{signs}}}$}}" if signs else "")


def _fit(table: Table, width: float, *, with_intervals: bool) -> _Fit:
    """Return the largest setting that fits; see the module."""
    for intervals in (True, False) if with_intervals else (False,):
        for wrapped in (False, True):
            for size, scale in _SIZES:
                widths = _widths(table, scale, with_intervals=intervals)
                least = max(_LEAST_NAME, _longest_word(table)) * scale
                for padding in _PADDINGS:
                    spare = width - 2 * padding * (len(widths) - 1) - sum(widths[1:])
                    if widths[0] <= spare:
                        return _Fit(size, padding, None, intervals, scaled=False)
                    if wrapped and not table.numeric[0] and spare >= least:
                        return _Fit(size, padding, spare, intervals, scaled=False)
    return _Fit(r"\scriptsize", _PADDINGS[-1], None, with_intervals=False, scaled=True)


def _widths(table: Table, scale: float, *, with_intervals: bool) -> list[float]:
    """Return what each column takes in a size, in points; intervals are tiny in any size."""
    widths = []
    for place, column in enumerate(table.columns):
        cells = [row[place] for row in table.rows]
        texts = [
            scale * (_points(c.text, bold=c.mark in ("best", "clear")) + 4.0 * len(c.signs))
            for c in cells
        ]
        notes = [_TINY * _points(cell.note) for cell in cells if with_intervals and cell.span]
        widths.append(max([*texts, *notes, scale * _points(column.short)]))
    start = 0
    for name, n_columns in table.groups:  # room for the titles of groups
        of_group = range(start, start + n_columns)
        lacking = scale * _points(name) - sum(widths[c] for c in of_group)
        for of in of_group if lacking > 0 else ():
            widths[of] += lacking / n_columns
        start += n_columns
    return widths


def _points(text: str, *, bold: bool = False) -> float:
    """Return about how wide a text is in normal size, from above."""
    wide, narrow = sum(c in "MWmw%@ΔQOG+" for c in text), sum(c in " .,'ijl:;|!" for c in text)
    return (1.15 if bold else 1.0) * (5.1 * (len(text) - wide - narrow) + 8.0 * wide + 2.9 * narrow)


def _longest_word(table: Table) -> float:
    words = (word for row in table.rows for word in re.split(r"[ -]", row[0].text))
    return max(map(_points, words), default=0.0)
