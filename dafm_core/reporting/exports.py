"""Tables as CSV, Markdown and LaTeX, values as JSON, per-query results as parquet: for papers,
spreadsheets and other programs.

Runs for other retrieval tools are ``run_files``'.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from dafm_core.errors import OptionError

if TYPE_CHECKING:
    from dafm_core.reporting.tables import Cell, Json, Table

_LATEX = {c: rf"\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def to_json(value: Json) -> str:
    """Return readable JSON; a NaN or an infinity is an error, not a file nobody can read."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(*records: Json) -> str:
    """Return comparisons in long form: one line per row and metric, with both differences."""
    lines = [
        {"protocol": record["protocol"], "row": row["name"], "kind": row["kind"], "metric": metric}
        | dict(cell)
        | {
            f"{against}_{key}": value
            for against in ("vs_best_single", "vs_best_static")
            for key, value in row[against].get(metric, {}).items()
        }
        for record in records
        for row in (*record["rows"], record["oracle"])
        for metric, cell in row["metrics"].items()
    ]
    return pl.DataFrame(lines, infer_schema_length=None).write_csv()


def to_markdown(table: Table) -> str:
    """Return a pipe table: best bold, second best in italics, intervals left out."""

    def show(cell: Cell) -> str:
        text = re.sub(r"([\\|`*_<>\[\]])", r"\\\1", cell.text).replace("\n", " ")
        return {"best": f"**{text}**", "second": f"*{text}*", "": text}[cell.mark]

    lines = [list(table.columns)] + [[show(cell) for cell in row] for row in table.rows]
    numeric = [isinstance(cell.value, float | int) for cell in table.rows[0]]
    rule = "|".join("---:" if number else "---" for number in numeric)
    body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([body[0], f"|{rule}|", *body[1:], "", table.caption, ""])


def to_latex(table: Table, *, label: str = "tab:dafm") -> str:
    """Return a booktabs table: best bold, second best underlined, a rule between kinds."""

    def show(cell: Cell) -> str:
        text = _latex(cell.text)
        return {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}", "": text}[
            cell.mark
        ]

    numeric = [isinstance(cell.value, float | int) for cell in table.rows[0]]
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(table.caption)}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numeric)}}}",
        r"\toprule",
        " & ".join(map(_latex, table.columns)) + r" \\",
        r"\midrule",
    ]
    for i, row in enumerate(table.rows):
        if i and table.kinds[i] != table.kinds[i - 1]:
            lines.append(r"\midrule")
        lines.append(" & ".join(map(show, row)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def write_per_query(path: str | Path, frame: pl.DataFrame) -> Path:
    """Write per-query results as parquet, whole or not at all.

    Raises
    ------
    OptionError
        If the file cannot be written.
    """
    path = Path(path)
    return _replace(path, lambda temporary: frame.write_parquet(temporary))


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file as UTF-8, whole or not at all; return its path.

    Raises
    ------
    OptionError
        If it cannot be written.
    """
    return _replace(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _replace(path: Path, write: Callable[[Path], object]) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OptionError(f"{path}: cannot be written ({error}). Choose another file.") from None
    return path


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)
