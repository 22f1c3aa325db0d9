"""The table of a dataset's queries, one row each: its columns, and how it is made and checked.

What a dataset does with it: ``base.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

import polars as pl

from dafm_core.errors import DatasetError
from dafm_core.ground.ids import LONGEST_ID, require_id

QUERY_SCHEMA: dict[str, Any] = {
    "query_id": pl.String,
    "references": pl.List(pl.String),
    "text": pl.String,
    "group": pl.String,
    "targets": pl.List(pl.String),
    "grades": pl.List(pl.Float64),
    "subset": pl.List(pl.String),
    "excluded": pl.List(pl.String),
    "candidates": pl.List(pl.String),
    "tags": pl.List(pl.String),
    "negatives": pl.List(pl.String),
}
"""Columns of a query frame: one row per query; ``queries.parquet`` of a store has exactly these.

``grades`` go with the targets, > 0, and are null where all count the same. ``candidates`` are the
only images that a query is ranked against, and null where that is the whole gallery. ``tags`` are
what a benchmark breaks its results down by, e.g. CIRCO's semantic aspects. ``negatives`` are images
that a benchmark names as wrong, e.g. PinPoint's; others may be wrong too.
"""
LATER: Final = ("negatives",)
"""Columns that stores written before them lack: empty there, and hashed only where they are not."""
LONGEST_TEXT: Final = 100_000
"""Characters of a query's text."""
LISTS = ("references", "targets", "subset", "excluded", "candidates", "negatives")
"""Columns that list image ids."""


def with_later_columns(queries: pl.DataFrame) -> pl.DataFrame:
    """Return the queries of an older store with the columns that came later, empty."""
    absent = [name for name in LATER if name not in queries.columns]
    return queries.with_columns(pl.lit([], dtype=QUERY_SCHEMA[n]).alias(n) for n in absent)


def query_frame(rows: Iterable[Mapping[str, Any]], *, where: str) -> pl.DataFrame:
    """Return a query frame from rows with at least ``query_id, text`` and a reference.

    ``reference`` names one image, ``references`` any number of them, none included. A missing
    ``group`` becomes the query id (a group of its own); missing lists become empty, but a missing
    ``candidates`` is the whole gallery. ``where`` names the file.

    Raises
    ------
    DatasetError
        If a row lacks a required field, or has one of another type, or an id or a text that is too
        long or cannot be written.
    """
    table: dict[str, list[Any]] = {name: [] for name in QUERY_SCHEMA}
    for number, row in enumerate(rows):
        place = f"{where}: query {number}"
        for name in ("query_id", "text"):
            if name not in row:
                fields = ", ".join(str(field) for field, value in row.items() if value is not None)
                raise DatasetError(f"{place}: expected a field {name!r}, got {fields}. Add it.")
            if not isinstance(row[name], str):
                raise DatasetError(f"{place}: expected text in {name!r}, got {row[name]!r}.")
            table[name].append(row[name])
        group = row.get("group")
        table["group"].append(str(row["query_id"]) if group is None else str(group))
        table["references"].append(_references(row, place))
        for name in ("targets", "subset", "excluded", "tags", "negatives"):
            listed = row.get(name)
            table[name].append([] if listed is None else _ids(listed, name, place))
        candidates = row.get("candidates")
        table["candidates"].append(
            None if candidates is None else _ids(candidates, "candidates", place)
        )
        table["grades"].append(_grades(row, place))
    try:
        frame = pl.DataFrame(table, schema=QUERY_SCHEMA)
    except UnicodeEncodeError:
        frame = None
    if frame is None or _longest(frame, "text") > LONGEST_TEXT or _longest_id(frame) > LONGEST_ID:
        _refuse_texts(table, where)
    return frame


def _longest(frame: pl.DataFrame, name: str) -> int:
    """Return the characters of the longest text of a column, of its lists where it has lists."""
    column = frame[name].explode() if isinstance(QUERY_SCHEMA[name], pl.List) else frame[name]
    return int(column.str.len_chars().max() or 0)  # type: ignore[arg-type]  # of a text


def _longest_id(frame: pl.DataFrame) -> int:
    return max(_longest(frame, name) for name in ("query_id", "group", "tags", *LISTS))


def _refuse_texts(table: Mapping[str, Sequence[Any]], where: str) -> NoReturn:
    """Raise for the first id or text that is too long, or that UTF-8 cannot hold."""
    for name in ("query_id", "text", "group", "tags", *LISTS):
        longest = LONGEST_TEXT if name == "text" else LONGEST_ID
        for number, value in enumerate(table[name]):
            for text in [value] if isinstance(value, str) else value or []:
                if text:  # a text may be empty; an id is looked at where ids are
                    require_id(text, where=f"{where}: query {number}: {name!r}", longest=longest)
    raise AssertionError("unreachable: some text was too long or could not be encoded")


def _references(row: Mapping[str, Any], place: str) -> list[str]:
    if row.get("references") is not None:
        return _ids(row["references"], "references", place)
    if not isinstance(row.get("reference"), str):
        raise DatasetError(
            f"{place}: expected text in 'reference', got {row.get('reference')!r}. List the images "
            "in 'references' where there are none or several."
        )
    return [row["reference"]]


def _ids(ids: Any, name: str, place: str) -> list[str]:
    is_list = isinstance(ids, Sequence) and not isinstance(ids, str)
    if not is_list or not all(isinstance(i, str) for i in ids):
        advice = f" Write [{ids!r}]." if isinstance(ids, str) else ""
        raise DatasetError(f"{place}: {name!r} must list texts, got {ids!r}.{advice}")
    return list(ids)


def _grades(row: Mapping[str, Any], place: str) -> list[float] | None:
    grades = row.get("grades")
    if grades is None:
        return None
    n_targets = len(row.get("targets") or [])
    valid = isinstance(grades, list | tuple) and all(
        isinstance(g, int | float) and not isinstance(g, bool) and 0 < g < float("inf")
        for g in grades
    )
    if not valid or len(grades) != n_targets:
        raise DatasetError(
            f"{place}: expected one grade above 0 per target ({n_targets}), got {grades!r}."
        )
    return [float(grade) for grade in grades]
