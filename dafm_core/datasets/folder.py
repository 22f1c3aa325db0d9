"""A team's own dataset: a folder of images and a table of queries.

    DIR/images/                           any nesting
    DIR/queries.{jsonl,json,csv,parquet}  query_id, text, reference (or references); optionally
                                          targets, grades, subset, excluded, candidates, negatives,
                                          group; other columns are left alone
    DIR/gallery.txt                       optional: image ids, one a line; else every image, sorted

An image's id is its path below ``images/`` without extension (``shoes/042``), or with it where two
files differ in the extension only; in the table an id may always be written with the extension, and
with ``images/`` before it. ``references`` (none, one or several), ``targets``, ``subset``,
``excluded`` and ``candidates`` (the only images a query is ranked against) and ``negatives``
(images named as wrong) are lists of ids; ``grades`` are numbers above 0 that go with the targets.
Whole numbers are ids, too: 7 is ``"7"``. In CSV the members of a list are separated by ``|``, and
an empty ``reference`` is none. The images may be absent where ``gallery.txt`` is there: scores made
elsewhere can be evaluated without them.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import polars as pl

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import LISTS, QUERY_SCHEMA, query_frame
from dafm_core.datasets.reading import choose, read_json
from dafm_core.errors import DatasetError, closest
from dafm_core.ground.files import read_ids
from dafm_core.ground.ids import Ids
from dafm_core.ground.sources import distinct_keys, parsed_json, source_table, source_text

Links: TypeAlias = Literal["inside", "anywhere"]
Reference: TypeAlias = Literal["keep", "exclude"]
IMAGE_SUFFIXES: Final = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
TABLES: Final = ("queries.jsonl", "queries.json", "queries.csv", "queries.parquet")


def load(
    path: str | Path,
    *,
    split: str | None = None,
    reference: Reference = "keep",
    links: Links = "inside",
) -> Dataset:
    """Read a folder of images and queries.

    Parameters
    ----------
    path : path
    split : None
        A folder is one split.
    reference : {"keep", "exclude"}
        Whether reference images stay in the ranking of their query, beside what ``excluded`` lists;
        results of the two are not comparable.
    links : {"inside", "anywhere"}
        Where a symbolic link among the images may lead: a folder from elsewhere could show any
        image of this machine. The folder of images itself may be a link.

    Returns
    -------
    Dataset
        Protocol ``folder-NAME`` after the folder's name, ``folder-NAME-exclude`` without
        references. Metrics follow from what the table has:
        rsubset@K where there are subsets, map@K where a query has several targets, ndcg@K where
        targets have grades.

    Raises
    ------
    DatasetError
        If a file is missing, malformed or inconsistent; the message names file, row and column.
        For a link that leads out of the folder of images.
    """
    folder = Path(path)
    if split is not None:
        raise DatasetError(f"{folder}: a folder dataset has no splits, got split {split!r}.")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder. Check the dataset's path.")
    choose(reference, get_args(Reference), where=f"{folder}: reference")
    table = _table(folder)
    names = image_ids(folder / "images", links=links)
    gallery = _gallery(folder, names)
    leaving = gallery if reference == "exclude" else ()
    queries = query_frame(_rows(table, names, leaving), where=str(table))
    if queries.is_empty():
        raise DatasetError(f"{table}: expected queries, got none. Write one a line.")
    return Dataset(
        protocol=f"folder-{_slug(folder.resolve().name)}" + ("-exclude" if leaving else ""),
        gallery_ids=gallery,
        queries=queries,
        images={image_id: folder / "images" / name for name, image_id in names.items()},
        metrics=_metrics(queries),
    )


def _table(folder: Path) -> Path:
    found = [folder / name for name in TABLES if os.path.lexists(folder / name)]
    if len(found) != 1:
        there = " and ".join(path.name for path in found) or "none"
        raise DatasetError(f"{folder}: expected one of {', '.join(TABLES)}, got {there}.")
    return found[0]


def image_ids(folder: Path, *, links: Links = "inside") -> dict[str, str]:
    """Return the id of each image file by its path below ``images/`` (with ``/``).

    Raises
    ------
    DatasetError
        For a link out of the folder, unless links may lead anywhere.
    """
    choose(links, get_args(Links), where=f"{folder}: links")
    names = sorted(_image_files(folder, "", None if links == "anywhere" else folder.resolve()))
    stems = [name.rpartition(".")[0] for name in names]
    counts = Counter(stems)
    return {n: stem if counts[stem] == 1 else n for n, stem in zip(names, stems, strict=True)}


def _image_files(folder: Path, below: str, root: Path | None) -> Iterator[str]:
    """Yield the paths of images below a folder; linked folders are not entered."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _image_files(Path(entry.path), f"{below}{entry.name}/", root)
            elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and entry.name[0] != ".":
                if root is not None and entry.is_symlink():
                    _check_link(Path(entry.path), root)
                yield below + entry.name


def _check_link(path: Path, root: Path) -> None:
    goal = Path(os.path.realpath(path))
    if not goal.is_relative_to(root):
        raise DatasetError(
            f"{path}: expected an image of this folder, got a link to {goal}. Copy the file, or "
            "allow it with --dataset-set links=anywhere."
        )


def _gallery(folder: Path, names: Mapping[str, str]) -> Ids:
    listed = folder / "gallery.txt"
    if not os.path.lexists(listed):  # a link that leads nowhere is an error, not no list
        if not (folder / "images").is_dir():
            raise DatasetError(f"{folder}: expected images/ or gallery.txt, got neither.")
        return Ids(sorted(names.values()))
    return Ids(names.get(name, name) for name in read_ids(listed))


def _rows(
    table: Path, names: Mapping[str, str], leaving: Container[str]
) -> Iterator[dict[str, Any]]:
    """Yield the table's rows with ids as the gallery has them, less references that leave."""

    def named(value: Any) -> Any:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str):
            return value
        return names.get(text, names.get(text.removeprefix("images/"), text))

    for number, row in enumerate(_READERS[table.suffix](table)):
        _check_columns(row.keys(), where=f"{table}: query {number}")
        if isinstance(row.get("query_id"), int) and not isinstance(row["query_id"], bool):
            row["query_id"] = str(row["query_id"])
        if row.get("reference") is not None:
            row["reference"] = named(row["reference"])
        for column in LISTS:
            if isinstance(row.get(column), list):
                row[column] = [named(member) for member in row[column]]
        if leaving:
            _exclude_references(row, leaving)
        yield row


def _exclude_references(row: dict[str, Any], gallery: Container[str]) -> None:
    """Add a row's references to what leaves its ranking; a malformed row stays, to be refused."""
    listed, excluded = row.get("references"), row.get("excluded") or []
    references = listed if isinstance(listed, list) else [row.get("reference")]
    if isinstance(excluded, list):
        gone = [image for image in references if isinstance(image, str) and image in gallery]
        row["excluded"] = [*excluded, *(image for image in gone if image not in excluded)]


def _check_columns(names: Iterable[str], *, where: str) -> None:
    """Raise DatasetError for a column that looks like a misspelt one of ours."""
    known = QUERY_SCHEMA.keys() | {"reference"}
    unread = known - set(names)
    for name in sorted(set(names) - known):
        hint = closest(name, unread)
        if "did you mean" in hint:
            raise DatasetError(f"{where}: unknown column {name!r}{hint}")


def _read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = source_text(path).split("\n")
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _object(parsed_json(line, distinct_keys), where=f"{path}: line {number}")
    except (OSError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path}: expected one JSON object a line ({error}).") from None


def _read_json(path: Path) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(read_json(path, list)):
        yield _object(row, where=f"{path}: query {number}")


def _object(row: Any, *, where: str) -> dict[str, Any]:
    if isinstance(row, list):
        raise DatasetError(
            f"{where}: expected a JSON object, got a list. Write one query a line, or call the "
            "file queries.json, which holds one list of them."
        )
    if not isinstance(row, dict):
        raise DatasetError(f"{where}: expected a JSON object, got {row!r}.")
    return row


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    try:
        rows = csv.DictReader(io.StringIO(source_text(path), newline=""), strict=True)
        distinct_keys([(name, None) for name in rows.fieldnames or ()])
        head = "".join(rows.fieldnames or ())
        if len(rows.fieldnames or ()) == 1 and re.search(r"[;\t]", head):
            raise DatasetError(
                f"{path}: expected columns separated by commas, got {head!r}. Save it with commas."
            )
        for row in rows:
            if None in row or None in row.values():
                raise DatasetError(
                    f"{path}: query {row.get('query_id')!r}: expected as many cells as columns."
                )
            lists: dict[str, Any] = {n: _split(row[n]) for n in (*LISTS, "tags") if n in row}
            if not lists.get("candidates"):
                lists["candidates"] = None  # an empty cell is the whole gallery
            if row.get("reference") == "":  # an empty cell is no reference
                lists.setdefault("references", [])
            grades = _split(row.get("grades") or "")
            lists["grades"] = [float(grade) for grade in grades] or None
            yield {**row, **lists, "group": row.get("group") or None}
    except (OSError, csv.Error, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path}: expected a CSV table ({error}).") from None


def _split(cell: str) -> list[str]:
    return [member.strip() for member in cell.split("|") if member.strip()]


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        table = source_table(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected a parquet table ({error}).") from None
    yield from table.iter_rows(named=True)


_READERS: Final = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _metrics(queries: pl.DataFrame) -> tuple[str, ...]:
    metrics = [f"recall@{k}" for k in (1, 5, 10, 50)]
    if (queries["subset"].list.len() > 0).any():
        metrics += [f"rsubset@{k}" for k in (1, 2, 3)]
    if (queries["targets"].list.len() > 1).any():
        metrics += [f"map@{k}" for k in (5, 10, 50)]
    if queries["grades"].null_count() < queries.height:
        metrics += [f"ndcg@{k}" for k in (5, 10, 50)]
    return tuple(metrics)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"
