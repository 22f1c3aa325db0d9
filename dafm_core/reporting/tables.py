"""Tables as values: what a comparison's JSON says, cell by cell, ready for any output format.

Nothing is computed but which cell is best; numbers come from the JSON and are rounded for show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from dafm_core.errors import OptionError

Json: TypeAlias = Mapping[str, Any]
Mark: TypeAlias = Literal["", "best", "second"]

_FAMILIES = {"recall": "R", "rsubset": "Rs", "hit": "Hit", "map": "mAP"}
_MEANS = {"rmean": "Rmean", "rmean-fashioniq": "Rmean", "mean": "Mean", "mrr": "MRR"}


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table.

    Parameters
    ----------
    text : str
    value : float or str
        What it is sorted by, unrounded.
    note : str
        Shown smaller beside it, e.g. an interval.
    mark : {"", "best", "second"}
    """

    text: str
    value: float | str
    note: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Table:
    """A caption, column titles, rows of cells, and each row's kind (rules separate kinds)."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...] = field(repr=False)
    kinds: tuple[str, ...] = field(repr=False)


def comparison_table(record: Json) -> Table:
    """Return all rows of a comparison by metric, the best marked; the oracle comes last."""
    metrics = [*record["metrics"], "mean"]
    rows = [[text_cell(row["name"]), *_values(row, metrics)] for row in record["rows"]]
    oracle = [text_cell("oracle of singles"), *_values(record["oracle"], metrics)]
    return Table(
        caption=describe(record),
        columns=("Method", *map(metric_label, metrics)),
        rows=(*_marked(rows), tuple(oracle)),
        kinds=(*(row["kind"] for row in record["rows"]), "oracle"),
    )


def difference_table(record: Json, metrics: Sequence[str]) -> Table:
    """Return the paired differences of the fused rows to the best single and the best static."""
    rows, kinds = [], []
    for row in record["rows"]:
        for against in ("vs_best_single", "vs_best_static"):
            for metric in metrics:
                if metric in row[against]:
                    rows.append(_difference(row["name"], metric, row[against][metric]))
                    kinds.append(row["kind"])
    columns = ("Method", "Minus", "Metric", "Difference", "p", "p (Holm)", "Better", "Same")
    return Table(
        caption="Paired differences in points with 95 % intervals, groups resampled whole; p by "
        "sign flips of whole groups, Holm over the fused rows of this table.",
        columns=(*columns, "Worse", "Detectable"),
        rows=tuple(rows),
        kinds=tuple(kinds),
    )


def fashioniq_table(records: Sequence[Json]) -> Table:
    """Return FashionIQ's three categories and their averages in one table (the paper's Table 3).

    Raises
    ------
    OptionError
        If the comparisons are not of one protocol family, metrics and rows.
    """
    categories = [_category(record) for record in records]
    names = [[row["name"] for row in record["rows"]] for record in records]
    variants = {r["protocol"].replace(c, "*") for r, c in zip(records, categories, strict=True)}
    alike = len(variants) == 1 and all(same == names[0] for same in names)
    if not alike or "" in categories or len(set(categories)) < len(records):
        raise OptionError(
            "fashioniq table: expected comparisons of different categories, one gallery and the "
            f"same rows, got {', '.join(r['protocol'] for r in records)}. Compare alike."
        )
    rows = []
    for same in zip(*(record["rows"] for record in records), strict=True):
        pairs = [[row["metrics"][f"recall@{k}"]["value"] for k in (10, 50)] for row in same]
        averages = [sum(values) / len(pairs) for values in zip(*pairs, strict=True)]
        numbers = [value for pair in (*pairs, averages) for value in pair]
        numbers.append(sum(averages) / 2)
        rows.append([text_cell(same[0]["name"]), *(Cell(f"{v:.2f}", v) for v in numbers)])
    heads = [f"{name} R@{k}" for name in (*categories, "average") for k in (10, 50)]
    return Table(
        caption="; ".join(describe(record) for record in records),
        columns=("Method", *heads, "Rmean"),
        rows=_marked(rows),
        kinds=tuple(row["kind"] for row in records[0]["rows"]),
    )


def frame_table(records: Sequence[Json], caption: str, *, digits: int = 2) -> Table:
    """Return rows of plain values (numbers rounded) as a table; keys become column titles."""
    columns = tuple(records[0]) if records else ()
    rows = tuple(tuple(_plain(record[key], digits) for key in columns) for record in records)
    return Table(caption=caption, columns=columns, rows=rows, kinds=("",) * len(rows))


def describe(record: Json) -> str:
    """Return protocol, counts and design of a comparison in one line."""
    return (
        f"{record['protocol']}: {record['n_queries']} queries in {record['n_groups']} groups; "
        f"{record['design']}"
    )


def metric_label(name: str) -> str:
    """Return a metric's name as tables show it.

    Examples
    --------
    >>> [metric_label(name) for name in ("recall@10", "rsubset@1", "rmean")]
    ['R@10', 'Rs@1', 'Rmean']
    """
    family, at, depth = name.partition("@")
    return _MEANS.get(name) or f"{_FAMILIES.get(family, family)}{at}{depth}"


def text_cell(text: str) -> Cell:
    """Return a cell of plain text."""
    return Cell(text, text)


def p_text(p: float) -> str:
    """Return a p-value as shown."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _values(row: Json, metrics: Iterable[str]) -> list[Cell]:
    cells = [row["metrics"][metric] for metric in metrics]
    return [
        Cell(f"{c['value']:.2f}", c["value"], f"[{c['low']:.2f}, {c['high']:.2f}]") for c in cells
    ]


def _difference(name: str, metric: str, value: Json) -> tuple[Cell, ...]:
    interval = f"[{value['low']:+.2f}, {value['high']:+.2f}]"
    clear: Mark = "best" if value["low"] > 0 or value["high"] < 0 else ""
    return (
        text_cell(name),
        text_cell(value["reference"]),
        text_cell(metric_label(metric)),
        Cell(f"{value['value']:+.2f}", value["value"], interval, clear),
        Cell(p_text(value["p_value"]), value["p_value"]),
        Cell(p_text(value["p_holm"]), value["p_holm"]),
        *(Cell(str(value[key]), value[key]) for key in ("wins", "ties", "losses")),
        Cell(f"{value['detectable']:.2f}", value["detectable"]),
    )


def _marked(rows: Sequence[Sequence[Cell]]) -> tuple[tuple[Cell, ...], ...]:
    """Mark the best and the second best of every column of numbers, as shown; ties share it."""
    table = [list(row) for row in rows]
    for c in range(1, len(table[0]) if table else 0):
        levels = sorted({float(row[c].text) for row in table}, reverse=True)
        marks: dict[float, Mark] = dict(zip(levels, ("best", "second"), strict=False))
        for row in table:
            row[c] = replace(row[c], mark=marks.get(float(row[c].text), ""))
    return tuple(tuple(row) for row in table)


def _category(record: Json) -> str:
    return next((c for c in ("dress", "shirt", "toptee") if c in record["protocol"]), "")


def _plain(value: Any, digits: int) -> Cell:
    if isinstance(value, float):
        return Cell(f"{value:.{digits}f}", value)
    return Cell(str(value), value if isinstance(value, int) else str(value))
