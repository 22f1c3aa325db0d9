"""CIRR: real-life photographs, one target per query, six-image subsets of look-alikes.

Reads the published files (``captions/cap.rc2.SPLIT.json``, ``image_splits/split.rc2.SPLIT.json``)
as they are. The target is ``target_hard``; the subset is the image set; the reference is excluded
from every ranking; the gallery is the whole split in its published order. That order leaks labels:
members of a set stand together in it, so nothing may break a tie by position.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dafm_core.datasets.bank import as_bank
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.datasets.reading import (
    checked,
    checked_list,
    choose,
    image_folder,
    inside,
    read_json,
)
from dafm_core.errors import DatasetError
from dafm_core.ground.ids import Ids

SPLITS = ("val", "train", "test1")
METRICS = (
    *(f"recall@{k}" for k in (1, 5, 10, 50)),
    *(f"rsubset@{k}" for k in (1, 2, 3)),
    "rmean",
)


def load(
    path: str | Path,
    *,
    split: str = "val",
    images: str | Path | None = None,
    bank: str | None = None,
) -> Dataset:
    """Read one split of CIRR.

    Parameters
    ----------
    path : path
        The folder with ``captions/`` and ``image_splits/``, or one that holds it as ``cirr/``.
    split : {"val", "train", "test1"}
        test1 has no targets: they are with the test server.
    images : path, optional
        Folder that the relative paths of the split file start from; by default ``img_raw/`` or
        ``path`` itself, where they exist.
    bank : {"val", "train", "test1"}, optional
        Take the queries of this split instead, without labels, against the gallery of ``split``.

    Returns
    -------
    Dataset
        Protocol ``cirr-SPLIT``, or ``cirr-SPLIT-bank-BANK``.

    Raises
    ------
    DatasetError
        If a file is missing or malformed; the message names file, query and field.
    OptionError
        For an unknown split or bank.

    References
    ----------
    Liu et al., Image Retrieval on Real-life Images with Pre-trained Vision-and-Language Models,
    ICCV 2021.
    """
    choose(split, SPLITS, where="cirr: split")
    folder = annotation_folder(Path(path))
    dataset = _read_split(folder, split, images)
    if bank is None:
        return dataset
    choose(bank, SPLITS, where="cirr: option 'bank'")
    queries_of = _read_split(folder, bank, images)
    return as_bank(queries_of, dataset, protocol=f"cirr-{split}-bank-{bank}")


def annotation_folder(path: Path) -> Path:
    """Return the folder of the published files, ``path`` itself or ``cirr/`` in it."""
    for folder in (path, path / "cirr"):
        if (folder / "captions").is_dir():
            return folder
    raise DatasetError(
        f"{path}: expected a folder with captions/ and image_splits/ as CIRR publishes them. "
        "Check the path."
    )


def _read_split(folder: Path, split: str, images: str | Path | None) -> Dataset:
    gallery_file = folder / "image_splits" / f"split.rc2.{split}.json"
    caption_file = folder / "captions" / f"cap.rc2.{split}.json"
    paths = read_json(gallery_file, dict)
    records = read_json(caption_file, list)
    rows = [
        _row(record, labelled=split != "test1", where=f"{caption_file}: query {number}")
        for number, record in enumerate(records)
    ]
    return Dataset(
        protocol=f"cirr-{split}",
        gallery_ids=Ids(paths),
        queries=query_frame(rows, where=str(caption_file)),
        images=image_paths(folder, paths, images, where=str(gallery_file)),
        metrics=METRICS,
    )


def _row(record: Any, *, labelled: bool, where: str) -> dict[str, Any]:
    reference = checked(record, "reference", str, where=where)
    image_set = checked(record, "img_set", dict, where=where)
    return {
        "query_id": str(checked(record, "pairid", int, where=where)),
        "reference": reference,
        "text": checked(record, "caption", str, where=where),
        "group": str(checked(image_set, "id", int, where=f"{where}: img_set")),
        "targets": [checked(record, "target_hard", str, where=where)] if labelled else [],
        "subset": checked_list(image_set, "members", str, where=f"{where}: img_set"),
        "excluded": [reference],
    }


def image_paths(
    folder: Path, paths: dict[str, Any], given: str | Path | None, *, where: str
) -> dict[str, Path]:
    """Return the file of each image that a split file names; nothing where no folder is known."""
    relative = {i: inside(Path(), checked(paths, i, str, where=where), where=where) for i in paths}
    first = next(iter(relative.values()), Path()).parent
    root = image_folder(given, (folder / "img_raw", folder), below=str(first), where="cirr")
    return {} if root is None else {i: root / path for i, path in relative.items()}
