"""A table as HTML: on a page, where scripts sort it and styles mark it, and in a notebook.

A row is one line, so that a selection pastes into a spreadsheet row by row. Names wrap; numbers
never do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from markupsafe import Markup, escape

from dafm_core.tables.cells import Cell, Column, Mark, Table

LOOKS: Final[dict[Mark, str]] = {"best": "Bold", "tied": "underlined", "clear": "Bold"}
"""How marks look, for a legend."""
NOTEBOOK_STYLE: Final = """
.dafm-table table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.dafm-table caption { caption-side: top; text-align: left; white-space: normal; }
.dafm-table th, .dafm-table td { text-align: left; white-space: nowrap; }
.dafm-table .number { text-align: right; }
.dafm-table .best span, .dafm-table .clear span { font-weight: bold; }
.dafm-table .tied span { text-decoration: underline; }
.dafm-table .first-of-kind > * { border-top: 1px solid; }
.dafm-table small { opacity: 0.75; }
"""


_RIGHT_TO_LEFT: Final = r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]"
_RUNS: Final = re.compile(rf"({_RIGHT_TO_LEFT}(?:[^A-Za-z0-9+(\[]*{_RIGHT_TO_LEFT})*)")


def isolated(sentence: str) -> Markup:
    """Return a sentence in which names that run from right to left stand apart, so that the numbers
    beside them keep their order.

    Examples
    --------
    >>> isolated("joining \u0643\u0644\u0628: -1.04 [-3.20, +1.11]").encode("ascii", "replace")
    b'joining <bdi>???</bdi>: -1.04 [-3.20, +1.11]'
    """
    parts = _RUNS.split(sentence)
    return _joined(
        Markup("<bdi>{}</bdi>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


def table_html(table: Table, *, anchor: str = "") -> Markup:
    """Return the element of a table; with an anchor, one that scripts sort."""
    known = Markup(' id="{}" class="sortable"').format(anchor) if anchor else Markup()
    caption = Markup("<caption><span>{}</span></caption>").format(isolated(table.caption))
    head = Markup("<thead>{}<tr>{}</tr></thead>").format(
        _groups(table), _joined(map(_head, table.columns, table.numeric))
    )
    body = Markup("<tbody>\n{}</tbody>").format(
        _joined(_row(table, number) for number in range(len(table.rows)))
    )
    return Markup("<table{}>{}\n{}\n{}\n</table>").format(known, caption, head, body)


def notebook_html(table: Table) -> str:
    """Return a table with its legend and its own small style."""
    legend = [*table.notes, table.legend(LOOKS)]
    words = Markup("<p><small>{}</small></p>").format(" ".join(filter(None, legend)))
    style = Markup("<style>{}</style>").format(Markup(NOTEBOOK_STYLE))  # noqa: S704  # our own
    return str(
        Markup('<div class="dafm-table">{}{}{}</div>').format(style, table_html(table), words)
    )


def _groups(table: Table) -> Markup:
    """Return the row of titles that columns have in common, above their own."""
    if not table.groups:
        return Markup()
    cells = [
        Markup('<th scope="colgroup" colspan="{}" class="group">{}</th>').format(span, name)
        if name
        else Markup('<td colspan="{}"></td>').format(span)
        for name, span in table.groups
    ]
    return Markup("<tr>{}</tr>").format(_joined(cells))


def _head(column: Column, is_number: bool) -> Markup:
    kind = Markup(' class="number"') if is_number else Markup()
    full = Markup(' abbr="{}"').format(column.name) if column.short != column.name else Markup()
    return Markup('<th scope="col"{}{}>{}</th>').format(kind, full, column.short)


def _row(table: Table, number: int) -> Markup:
    row, kind = table.rows[number], table.kinds[number]
    starts = number > 0 and kind not in (table.kinds[number - 1], "delta")
    classes = f"kind-{kind}" + (" first-of-kind" if starts else "")
    cells = [
        _cell(cell, is_name=place == 0, essential=column.essential)
        for place, (cell, column) in enumerate(zip(row, table.columns, strict=True))
    ]
    return Markup('<tr class="{}">{}</tr>\n').format(classes, _joined(cells))


def _cell(cell: Cell, *, is_name: bool, essential: bool) -> Markup:
    facts: dict[str, object] = {"data-value": cell.value}
    if cell.span:
        facts |= {"data-low": cell.span[0], "data-high": cell.span[1]}
    kinds = [*([] if cell.is_text else ["number"]), *([cell.mark] if cell.mark else [])]
    kinds += ["essential"] * essential
    if kinds:
        facts["class"] = " ".join(kinds)
    given = _joined(Markup(' {}="{}"').format(name, value) for name, value in facts.items())
    note = Markup(" <small>{}</small>").format(cell.note) if cell.note else Markup()
    if is_name:
        return Markup('<th scope="row"{}><span>{}</span>{}</th>').format(given, cell.text, note)
    signs = Markup(' data-signs="{}"').format("".join(cell.signs)) if cell.signs else Markup()
    return Markup("<td{}><span{}>{}</span>{}</td>").format(given, signs, cell.text, note)


def _joined(parts: Iterable[Markup]) -> Markup:
    return Markup().join(escape(part) for part in parts)
