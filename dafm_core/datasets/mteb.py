"""CIRR and FashionIQ as MTEB ranks them (M-BEIR's task 7): other queries, galleries and rules.

Both are made from the owners' files by M-BEIR's rules, which give the published numbers of queries,
relevant pairs and texts exactly; the ids are the owners', where M-BEIR has running numbers. **The
reference stays in the gallery and in the ranking**, so a model that looks at images puts it first,
and R@1 is near zero. Nothing here is comparable with ``cirr-val`` or ``fashioniq-...``.

MTEB puts an instruction before each text for models that take one: that is an option of the
provider (``prompt``), not of the dataset.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.cirr import annotation_folder, image_paths
from dafm_core.datasets.fashioniq import CATEGORIES
from dafm_core.datasets.query_frame import query_frame
from dafm_core.datasets.reading import (
    checked,
    checked_list,
    image_folder,
    images_by_stem,
    read_json,
)
from dafm_core.errors import DatasetError
from dafm_core.ground.groups import connected_groups
from dafm_core.ground.ids import Ids

METRICS: Final = (
    "ndcg@10",
    "map@10",
    *(f"recall@{k}" for k in (1, 5, 10, 50)),
    *(f"hit@{k}" for k in (1, 5, 10)),
)
SPLITS: Final = ("train", "val", "test")


def load_cirr(
    path: str | Path, *, split: str | None = None, images: str | Path | None = None
) -> Dataset:
    """Read CIRR's val split as MTEB's CIRRIT2IRetrieval.

    Rows of equal reference and caption are one query. Relevant is what ``target_soft`` has at
    exactly 1, of which in 37 rows one is the reference itself and the intended target is not;
    its other images are negatives. The gallery is all three split files, 21,551 images.

    Parameters
    ----------
    path : path
        The folder with ``captions/`` and ``image_splits/``, or one that holds it as ``cirr/``.
    split : None
        There is one split.
    images : path, optional
        As for ``cirr``.

    Returns
    -------
    Dataset
        Protocol ``mteb-cirr``; a query's id is the first of its pair ids.

    Raises
    ------
    DatasetError
        If a file is missing or malformed; the message names file, query and field.
    """
    folder = annotation_folder(Path(path))
    _refuse(split, folder)
    captions = folder / "captions" / "cap.rc2.val.json"
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for number, record in enumerate(read_json(captions, list)):
        where = f"{captions}: query {number}"
        reference = checked(record, "reference", str, where=where)
        caption = checked(record, "caption", str, where=where)
        values = checked(record, "target_soft", dict, where=where)
        row = merged.setdefault(
            (reference, caption),
            {
                "query_id": str(checked(record, "pairid", int, where=where)),
                "reference": reference,
                "text": _sentence(caption.strip().strip('"').strip()),
                "targets": [],
                "negatives": [],
            },
        )
        for image, value in values.items():
            row["targets" if value == 1 else "negatives"].append(image)
    paths: dict[str, Any] = {}
    for name in ("train", "val", "test1"):
        paths |= read_json(folder / "image_splits" / f"split.rc2.{name}.json", dict)
    return _dataset(
        "mteb-cirr",
        [row for row in merged.values() if row["targets"]],
        Ids(paths),
        image_paths(folder, paths, images, where=str(folder / "image_splits")),
    )


def load_fashioniq(
    path: str | Path, *, split: str | None = None, images: str | Path | None = None
) -> Dataset:
    """Read FashionIQ's val splits of all categories as MTEB's FashionIQIT2IRetrieval.

    Rows of equal reference and text are one query; the gallery is all splits of all categories,
    74,381 images.

    Parameters
    ----------
    path : path
        The folder with ``captions/`` and ``image_splits/``.
    split : None
        There is one split.
    images : path, optional
        Folder of the image files; by default ``images/`` below ``path``.

    Returns
    -------
    Dataset
        Protocol ``mteb-fashioniq``; a query's id is that of its first row in ``fashioniq``.

    Raises
    ------
    DatasetError
        If a file is missing or malformed; the message names file, query and field.
    """
    folder = Path(path)
    _refuse(split, folder)
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    listed: list[str] = []
    for category in CATEGORIES:
        captions = folder / "captions" / f"cap.{category}.val.json"
        for number, record in enumerate(read_json(captions, list)):
            where = f"{captions}: query {number}"
            reference = checked(record, "candidate", str, where=where)
            text = _joined(checked_list(record, "captions", str, where=where))
            row = merged.setdefault(
                (reference, text),
                {
                    "query_id": f"{category}-val-{number}",
                    "reference": reference,
                    "text": text,
                    "targets": [],
                },
            )
            row["targets"].append(checked(record, "target", str, where=where))
        for name in SPLITS:
            file = folder / "image_splits" / f"split.{category}.{name}.json"
            listed += checked_list({"ids": read_json(file, list)}, "ids", str, where=str(file))
    gallery = Ids(dict.fromkeys(listed))
    root = image_folder(images, (folder / "images",), where="mteb-fashioniq")
    found = {} if root is None else images_by_stem(root, gallery)
    return _dataset("mteb-fashioniq", list(merged.values()), gallery, found)


def _dataset(
    protocol: str, rows: list[dict[str, Any]], gallery: Ids, images: dict[str, Path]
) -> Dataset:
    for row in rows:
        row["targets"] = list(dict.fromkeys(row["targets"]))
    groups = connected_groups([[row["reference"], *row["targets"]] for row in rows])
    for row, first in zip(rows, groups, strict=True):
        row["group"] = rows[first]["query_id"]
    return Dataset(
        protocol=protocol,
        gallery_ids=gallery,
        queries=query_frame(rows, where=protocol),
        images=images,
        metrics=METRICS,
    )


def _refuse(split: str | None, folder: Path) -> None:
    if split not in (None, "val"):
        raise DatasetError(f"{folder}: MTEB has the val split only, got split {split!r}.")


def _joined(captions: Sequence[str]) -> str:
    stripped: Iterable[str] = (caption.strip() for caption in captions)
    parts = [(part[:1].lower() + part[1:]).removesuffix(".") for part in stripped]
    return _sentence(" and ".join(part for part in parts if part))


def _sentence(text: str) -> str:
    """Return a text with a capital and a full stop, as M-BEIR writes them."""
    ended = text if text.endswith((".", "?", "!")) else f"{text}."
    return ended[:1].upper() + ended[1:]
