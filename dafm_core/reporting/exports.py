"""Tables as CSV and Markdown, values as JSON, per-query results as parquet: for papers,
spreadsheets and other programs.

LaTeX is written in ``latex.py``. Runs for other retrieval tools are written in ``formats/runs.py``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from dafm_core.comparison.rows import MEAN
from dafm_core.errors import OptionError
from dafm_core.ground import files
from dafm_core.ground.printable import printable_json
from dafm_core.ground.undecided import WORD
from dafm_core.metrics.spec import parse_metric

if TYPE_CHECKING:
    from dafm_core.comparison.result import Comparison
    from dafm_core.comparison.rows import Row
    from dafm_core.metrics.families import Head
    from dafm_core.tables.cells import Cell, Mark, Table

_FORMULA = r"^[=+\-@\t\r]"
"""How a text begins that a spreadsheet would compute."""
_LOOKS: Final[dict[Mark, str]] = {"best": "Bold", "tied": "in italics", "clear": "Bold"}


def to_csv(*comparisons: Comparison) -> str:
    """Return comparisons in long form: one line per row and metric, with both differences."""
    lines = [
        {"protocol": comparison.protocol, **line}
        for comparison in comparisons
        for row in (*comparison.rows, comparison.oracle)
        for line in _lines(row)
    ]
    return csv_text(pl.DataFrame(lines, infer_schema_length=None))


def csv_text(frame: pl.DataFrame) -> str:
    """Return a frame as CSV that a spreadsheet does not compute.

    A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return gets an
    apostrophe in front, which spreadsheets take for "this is text". Numbers stay as they are; the
    members of a list are separated by ``|``.
    """
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    frame = frame.with_columns(pl.col(name).list.join("|") for name in lists)
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    quoted = [
        pl.when(pl.col(name).str.contains(_FORMULA))
        .then(pl.lit("'") + pl.col(name))
        .otherwise(pl.col(name))
        .alias(name)
        for name in texts
    ]
    return frame.with_columns(quoted).write_csv()


def table_csv(table: Table) -> str:
    """Return a table as CSV: unrounded numbers, and beside each its interval where it has one."""
    columns: dict[str, list[float | str | None]] = {}
    for place, name in enumerate(table.names):
        cells = [row[place] for row in table.rows]
        columns[name] = [_plain(cell) for cell in cells]
        if any(cell.span for cell in cells):
            for end, side in enumerate(("low", "high")):
                columns[f"{name} {side}"] = [cell.span and cell.span[end] for cell in cells]
    return csv_text(pl.DataFrame(columns, strict=False))


def to_markdown(table: Table) -> str:
    """Return a pipe table with its caption and legend: best bold, tied in italics; no intervals."""

    def show(cell: Cell) -> str:
        text = _markdown(cell.text)
        looks = {"best": f"**{text}**", "tied": f"*{text}*", "clear": f"**{text}**", "": text}
        return looks[cell.mark] + "".join(cell.signs)

    lines = [list(map(_markdown, table.names))] + [
        [show(cell) for cell in row] for row in table.rows
    ]
    rule = "|".join("---:" if number else "---" for number in table.numeric)
    body = ["| " + " | ".join(line) + " |" for line in lines]
    words = [_markdown(table.caption), *table.notes, table.legend(_LOOKS)]
    return "\n".join([body[0], f"|{rule}|", *body[1:], "", " ".join(filter(None, words)), ""])


def write_frame(path: str | Path, frame: pl.DataFrame) -> Path:
    """Write a frame as parquet, or as CSV where the name ends so, whole or not at all; return the
    path.

    Raises
    ------
    OptionError
        If the file cannot be written.
    """
    if Path(path).suffix == ".csv":
        return write_text(path, csv_text(frame))
    with _one_line(path), files.replacing(path) as temporary:
        frame.write_parquet(temporary)
    return Path(path)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file as UTF-8, whole or not at all, or print it where the path is ``-``; errors
    as :func:`write_frame`.
    """
    if str(path) == "-":
        print(text, end="")  # noqa: T201  # asked for
        return Path(path)
    with _one_line(path):
        return files.write_text(path, text)


def write_json(path: str | Path, value: Any) -> Path:
    """Write readable JSON as :func:`write_text` does; errors as :func:`write_frame`.

    A NaN or an infinity is a ValueError, not a file that other programs cannot read.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return write_text(path, (printable_json(text) if str(path) == "-" else text) + "\n")


def check_place(path: str | Path) -> None:
    """Raise OptionError where a file cannot be written, before the work whose result it is for."""
    path = Path(path)
    if not path.name or path.is_dir():
        raise OptionError(f"{path}: expected the name of a file, got a folder. Add a name.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OptionError(
            f"{path}: cannot be written (in {folder}, no file can be made). Choose another file."
        )


@contextmanager
def _one_line(path: str | Path) -> Iterator[None]:
    """Turn what the system says of a file that cannot be written into an error of one line."""
    if not Path(path).name:
        raise OptionError(f"{path}: expected the name of a file, got a folder. Add a name.")
    try:
        yield
    except OSError as error:
        raise OptionError(f"{path}: cannot be written ({error}). Choose another file.") from None


def _markdown(text: str) -> str:
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", text).replace("\n", " ")


def _plain(cell: Cell) -> float | str | None:
    """Return a cell's number or name; nothing where it is undecided."""
    return None if cell.text == WORD else cell.value


def _lines(row: Row) -> Iterator[dict[str, Any]]:
    """Return a line of the long form for each metric, with the numbers of the JSON."""
    values = row.to_json()
    for metric, cell in values["metrics"].items():
        cell = cell or dict.fromkeys(("value", "low", "high"))  # undecided
        head = "+".join(_heads_of(row, metric))
        yield {"row": row.name, "kind": row.kind, "metric": metric, "head": head, **cell} | {
            f"{against}_{key}": value
            for against in ("vs_best_single", "vs_best_static", "vs_best_learned", "vs_best")
            for key, value in values[against].get(metric, {}).items()
        }


def _heads_of(row: Row, metric: str) -> tuple[Head, ...]:
    """Return which of a row's heads a metric is of; the mean of all is of all."""
    if len(row.heads) == 1 or metric == MEAN:
        return row.heads
    return parse_metric(metric).heads
