"""Judgements made on the page of ``dafm serve``, as a dataset to train on and compare with.

    FILE    JSON lines; the first names the index, each other one marks an image for a query:
            {"references": [...], "text": "...", "image": "...", "mark": "meant"|"not"|"none"}

Lines are only ever appended, the last one of a query and an image counts, and a line that a crash
has cut short is passed over. What nobody marked is not known to be wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import DatasetError
from dafm_core.ground.ids import Ids, is_text
from dafm_core.ground.sources import source_bytes, source_json, source_table

MARKS: Final = ("meant", "not", "none")


def load(path: str | Path, *, split: str | None = None, index: str | Path | None = None) -> Dataset:
    """Read a file of judgements; the gallery is that of the index they were made on.

    Parameters
    ----------
    path : path
    split : None
    index : path, optional
        The index's folder, where it has moved since.

    Returns
    -------
    Dataset
        A query for each references and text with an image marked as meant; those are its targets,
        and its references are excluded from its ranking, as in the search.

    Raises
    ------
    DatasetError
        If the file or the index cannot be read, or no image is marked as meant.
    """
    path = Path(path)
    if split is not None:
        raise DatasetError(f"{path}: judgements have no splits, got split {split!r}.")
    header, lines = read(path)
    gallery = gallery_table(Path(index or header["index"]))
    ids = Ids(gallery["image_id"].to_list())
    judged = {asked: marks for asked, marks in latest(lines).items() if "meant" in marks.values()}
    rows = [
        {
            "query_id": query_id(references, text),
            "references": list(references),
            "text": text,
            "targets": [image for image, mark in marks.items() if mark == "meant"],
            "excluded": [reference for reference in references if reference in ids],
        }
        for (references, text), marks in judged.items()
    ]
    if not rows:
        raise DatasetError(f"{path}: expected an image marked as meant, got none. Judge one first.")
    files = zip(ids, gallery["path"], strict=True)
    return Dataset(
        protocol=f"judgements-{path.stem}",
        gallery_ids=ids,
        queries=query_frame(rows, where=str(path)),
        images={image_id: Path(file) for image_id, file in files if file is not None},
    )


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the header and the judgements of a file.

    Raises
    ------
    DatasetError
        If it cannot be read, or a line other than the last is damaged.
    """
    try:
        content = source_bytes(path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}).") from None
    whole = content[: content.rfind(b"\n") + 1]
    try:
        header, *lines = [json.loads(line) for line in whole.decode("utf-8").splitlines() if line]
        if not isinstance(header["index"], str):
            raise TypeError
        for line in lines:
            texts = [*line["references"], line["text"], line["image"], line["mark"]]
            if not all(isinstance(text, str) and is_text(text) for text in texts):
                raise TypeError
            if not isinstance(line["references"], list) or line["mark"] not in MARKS:
                raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DatasetError(
            f"{path}: expected judgements of dafm serve, one JSON object a line."
        ) from None
    return header, lines


def latest(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[tuple[str, ...], str], dict[str, str]]:
    """Return the mark that counts of each image, by references and text, in the order judged."""
    judged: dict[tuple[tuple[str, ...], str], dict[str, str]] = {}
    for line in lines:
        asked = (tuple(line["references"]), str(line["text"]))
        judged.setdefault(asked, {})[str(line["image"])] = line["mark"]
    return judged


def query_id(references: Sequence[str], text: str) -> str:
    """Return the id of a judged query: a hash of what was asked."""
    content = json.dumps([list(references), text]).encode()
    return "judged-" + hashlib.sha256(content).hexdigest()[:12]


def gallery_table(index: Path) -> pl.DataFrame:
    """Return the images of a gallery index: ``image_id``, ``path`` and what else it knows.

    Raises
    ------
    DatasetError
        If the folder is no index.
    """
    try:
        state = source_json(index / "index.json")["state"]
        return source_table(index / f"state-{int(state)}" / "gallery.parquet")
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
        raise DatasetError(
            f"{index}: expected the gallery index that was judged. Say where it is: "
            "--dataset-set index=DIR."
        ) from None
