"""Tables of scores, parquet and csv: long (a line per candidate) or wide (a column per image)."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from dafm_core.errors import OptionError, SimilarityError, closest
from dafm_core.formats.content import Content, Label, Matrix, RankedLists, Request
from dafm_core.formats.ranks import ranked_lists
from dafm_core.ground.sources import source_table, source_text

QUERY_NAMES: Final = ("queryid", "qid", "query", "topic", "topicid", "pairid")
IMAGE_NAMES: Final = (
    *("imageid", "docno", "docid", "doc", "did", "corpusid", "candidateid", "candidate"),
    *("galleryid", "image", "imgid"),
)
SCORE_NAMES: Final = ("score", "similarity", "sim")
RANK_NAMES: Final = ("rank",)
"""Names of columns, spelled with small letters only: ``q_id``, ``query-id``, ``docno``."""
INDEX_NAMES: Final = ("__index_level_0__", "Unnamed: 0", "index", "")
"""What pandas calls its index in a file, where it has no name of its own."""


def read_parquet(path: Path, request: Request) -> Content:
    """Return a wide or a long table."""
    return table_content(path, source_table(path), request)


def read_csv(path: Path, request: Request) -> Content:
    """Return a wide or a long table; a long one may lack the line of names."""
    text = read_text(path)
    first = text.lstrip("\n").partition("\n")[0]
    separator = max(",\t;", key=first.count)
    if "\r" in first.rstrip("\r"):
        raise SimilarityError(
            f"{path}: expected lines that end in \\n or \\r\\n, got \\r alone within the first. "
            "Save it with other line ends."
        )
    try:
        fields = next(csv.reader([first], delimiter=separator), [])
    except csv.Error as error:  # a field of over 131,072 characters
        raise SimilarityError(
            f"{path}: expected a table, got a first line with a {error}."
        ) from error
    has_names = not (len(fields) == 3 and _is_number(fields[2]))
    if has_names:
        _check_distinct(path, fields)
    frame = pl.read_csv(
        io.BytesIO(text.encode()),
        separator=separator,
        has_header=has_names,
        infer_schema=False,  # ids stay as they are written
    )
    if not has_names:
        frame.columns = ["query_id", "image_id", "score"]
    return table_content(path, frame, request)


def _check_distinct(path: Path, names: Sequence[str]) -> None:
    """Raise SimilarityError for a name that two columns have: polars would give one another."""
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise SimilarityError(f"{path}: column {twice[0]!r} stands twice. Leave one of them out.")


def read_text(path: Path) -> str:
    """Return a text file, unpacked where its name ends in ``.gz``, without a byte order mark.

    Raises
    ------
    ValueError, OSError, EOFError
        If it is no text, or is damaged.
    """
    return source_text(path)


def table_content(path: Path, frame: pl.DataFrame, request: Request) -> Content:
    """Return a table as ranked lists where it has a column of candidates, else as a matrix.

    Raises
    ------
    SimilarityError
        If neither form is there, or a score is no number.
    OptionError
        For a key that is no column.
    """
    query, image = (
        column_named(frame.columns, QUERY_NAMES),
        column_named(frame.columns, IMAGE_NAMES),
    )
    if query is not None and image is not None and not frame.schema[image].is_float():
        return _long(path, frame, query, image, request)
    return _wide(path, frame, query, request)


def column_named(columns: Iterable[str], names: Iterable[str]) -> str | None:
    """Return the column that has the first of the names, whatever its spelling.

    Examples
    --------
    >>> column_named(["q_id", "doc_id", "score"], IMAGE_NAMES)
    'doc_id'
    """
    return next(iter(columns_named(columns, names)), None)


def columns_named(columns: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return every column that has one of the names, by the order of the names."""
    plain = [(re.sub("[^a-z0-9]", "", column.lower()), column) for column in columns]
    return [column for name in names for spelt, column in plain if spelt == name]


def _long(path: Path, frame: pl.DataFrame, query: str, image: str, request: Request) -> RankedLists:
    score, rank = (column_named(frame.columns, names) for names in (SCORE_NAMES, RANK_NAMES))
    if request.key is not None:
        if request.key not in frame.columns:
            raise OptionError(
                f"{path}: no column {request.key!r}{closest(request.key, frame.columns)}"
            )
        score = request.key
    elif len(several := columns_named(frame.columns, SCORE_NAMES)) > 1:
        raise OptionError(
            f"{path}: expected one column of scores, got {' and '.join(several)}. Name one with "
            f"{request.key_option}."
        )
    if score is None and rank is None:
        raise SimilarityError(
            f"{path}: expected a column 'score' or 'rank', got {', '.join(frame.columns)}. Name "
            "the scores with --key."
        )
    columns = [pl.col(query).cast(pl.String).alias("query_id")]
    columns.append(pl.col(image).cast(pl.String).alias("image_id"))
    if score is not None:
        columns.append(pl.col(score).cast(pl.Float64).alias("score"))
    if rank is not None and rank != score:
        columns.append(pl.col(rank).cast(pl.Float64, strict=False).alias("rank"))
    lists = frame.select(columns)
    missing = lists.select("query_id", "image_id").null_count().row(0)
    if any(missing):
        raise SimilarityError(f"{path}: {max(missing)} lines lack a query or an image.")
    return ranked_lists(path, lists, request, numbered=True)


def _wide(path: Path, frame: pl.DataFrame, query: str | None, request: Request) -> Matrix:
    if request.key is not None:
        raise OptionError(f"{path}: holds one table; leave {request.key_option} out.")
    index = next((name for name in INDEX_NAMES if name in frame.columns), None)
    rows = query or index
    if rows is None:
        shown = ", ".join(frame.columns[:4])
        raise SimilarityError(
            f"{path}: expected a column 'query_id' with one column per image, or columns query_id, "
            f"image_id, score; got {frame.width} columns ({shown}, ...). Rename them."
        )
    dropped = {rows, *(name for name in INDEX_NAMES if query is not None)} - {None}
    values = frame.drop([name for name in frame.columns if name in dropped])
    texts = [name for name, kind in values.schema.items() if not kind.is_numeric()]
    if texts and texts == values.columns:
        values, texts = values.cast(pl.Float64), []
    if texts:
        raise SimilarityError(
            f"{path}: expected numbers in every column but {rows!r}, got text in {texts[0]!r}. "
            "Leave such columns out."
        )
    ids = tuple(frame[rows].cast(pl.String).to_list())
    return Matrix(
        path=path,
        values=values.to_numpy(),
        labels=(
            Label(name=rows, length=len(ids), ids=ids, axis="rows"),
            Label(name="columns", length=values.width, ids=tuple(values.columns), axis="columns"),
        ),
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
