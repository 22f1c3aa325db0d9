"""The table of query types: which method answers which texts, on the mean of the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dafm_core.comparison.rows import MEAN
from dafm_core.comparison.tables import best_first, heads_of, marked_lines, mean_words
from dafm_core.evaluation.query_types import precision_words
from dafm_core.tables.cells import Column, Table, table, text_cell

if TYPE_CHECKING:
    from dafm_core.comparison.result import Comparison

_HOW: Final = (
    "A text may be of several types. Intervals resample whole groups; p is adjusted over all types "
    "and fused rows, because five types are five looks."
)


def type_table(comparison: Comparison) -> Table | None:
    """Return every row by query type, with intervals and marks; None where no type has queries of
    two groups.
    """
    if not comparison.by_type:
        return None
    ordered = best_first(comparison.rows, MEAN)
    lines = [[text_cell(comparison.label(row.name))] for row in ordered]
    everything = (comparison.n_queries, "all", {row.name: row for row in ordered})
    columns: list[Column | str] = ["Method"]
    of_types = [(t.n_queries, t.name, {r.name: r for r in t.rows}) for t in comparison.by_type]
    for n_queries, name, rows in (everything, *of_types):
        columns.append(Column(f"{name} ({n_queries})", essential=name == "all"))
        of_type = marked_lines([rows[row.name] for row in ordered], [MEAN], comparison.label)
        for line, cells in zip(lines, of_type, strict=True):
            line.append(cells[1])
    return table(
        f"{comparison.protocol}: {mean_words(heads_of(comparison.rows))} by what the text asks "
        "for, in percent with 95 % intervals; number of queries in brackets.",
        columns,
        lines,
        kinds=[row.kind for row in ordered],
        notes=[f"{precision_words()}.", _HOW],
    )
