"""CIRCO: COCO photographs, several targets per query, a concept that reference and targets share.

Reads the published files (``annotations/SPLIT.json`` and COCO's own list of unlabeled images) as
they are. The gallery is all unlabeled images of COCO 2017 in the order of that list; image ids are
its numbers as strings. The reference stays in the ranking, as in CIRCO's own evaluation and in all
published results; leaving it out is a protocol of its own. The first target is the image the
caption was written for, the only one that CIRCO's Recall@K counts (``first@K``); mAP@K counts all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

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
from dafm_core.ground.groups import connected_groups
from dafm_core.ground.ids import Ids

SPLITS: Final = ("val", "test")
METRICS: Final = (
    *(f"map@{k}" for k in (5, 10, 25, 50)),
    *(f"first@{k}" for k in (1, 5, 10, 25, 50)),
)
REFERENCES: Final = ("keep", "exclude")
TEXTS: Final[Mapping[str, Callable[[str, str], str]]] = MappingProxyType(
    {
        "caption": lambda concept, caption: caption,
        "concept": lambda concept, caption: f"{concept} that {caption}",
    }
)
"""What becomes the query's text: the relative caption, or a sentence that names the concept too."""


def load(
    path: str | Path,
    *,
    split: str = "val",
    text: str = "caption",
    reference: str = "keep",
    images: str | Path | None = None,
    bank: str | None = None,
) -> Dataset:
    """Read one split of CIRCO.

    Parameters
    ----------
    path : path
        The folder with ``annotations/`` and ``COCO2017_unlabeled/``.
    split : {"val", "test"}
        test has no targets: they are with the test server.
    text : {"caption", "concept"}
        See :data:`TEXTS`; recorded in every passport.
    reference : {"keep", "exclude"}
        Whether the reference stays in the ranking; results of the two are not comparable.
    images : path, optional
        Folder of the image files; by default ``COCO2017_unlabeled/unlabeled2017`` where there is
        one.
    bank : {"val", "test"}, optional
        Take the queries of this split instead, without labels, under a protocol of their own.

    Returns
    -------
    Dataset
        Protocol ``circo-SPLIT``, ``circo-SPLIT-exclude``, or ``circo-SPLIT-bank-BANK``.

    Raises
    ------
    DatasetError
        If a file is missing or malformed; the message names file, query and field.
    OptionError
        For an unknown choice.

    References
    ----------
    Baldrati et al., Zero-Shot Composed Image Retrieval with Textual Inversion, ICCV 2023.
    """
    choose(split, SPLITS, where="circo: split")
    choose(text, tuple(TEXTS), where="circo: option 'text'")
    choose(reference, REFERENCES, where="circo: option 'reference'")
    folder = Path(path)
    files = _gallery(
        folder / "COCO2017_unlabeled" / "annotations" / "image_info_unlabeled2017.json"
    )
    usual = folder / "COCO2017_unlabeled" / "unlabeled2017"
    root = image_folder(images, (usual,), where="circo")

    def read(name: str) -> Dataset:
        annotations = folder / "annotations" / f"{name}.json"
        return Dataset(
            protocol=f"circo-{name}" + ("" if reference == "keep" else "-exclude"),
            gallery_ids=Ids(files),
            queries=query_frame(_rows(annotations, name, text, reference), where=str(annotations)),
            images={} if root is None else {i: root / file for i, file in files.items()},
            metrics=METRICS,
            options={"text": text},
        )

    if bank is None:
        return read(split)
    choose(bank, SPLITS, where="circo: option 'bank'")
    return as_bank(read(bank), read(split), protocol=f"circo-{split}-bank-{bank}")


def _gallery(path: Path) -> dict[str, Path]:
    """Return the relative path of each image id, in published order."""
    records = checked(read_json(path, dict), "images", list, where=str(path))
    files: dict[str, Path] = {}
    for number, record in enumerate(records):
        where = f"{path}: image {number}"
        name = checked(record, "file_name", str, where=where)
        files[str(checked(record, "id", int, where=where))] = inside(Path(), name, where=where)
    if len(files) < len(records):
        Ids.distinct((str(record["id"]) for record in records), where=str(path))
    return files


def _rows(path: Path, split: str, text: str, reference: str) -> list[dict[str, Any]]:
    rows = [
        _row(record, text, reference, labelled=split == "val", where=f"{path}: query {number}")
        for number, record in enumerate(read_json(path, list))
    ]
    groups = connected_groups([[row["reference"], *row["targets"]] for row in rows])
    return [
        row | {"group": rows[first]["query_id"]} for row, first in zip(rows, groups, strict=True)
    ]


def _row(record: Any, text: str, reference: str, *, labelled: bool, where: str) -> dict[str, Any]:
    image = str(checked(record, "reference_img_id", int, where=where))
    concept = checked(record, "shared_concept", str, where=where)
    caption = checked(record, "relative_caption", str, where=where)
    return {
        "query_id": str(checked(record, "id", int, where=where)),
        "reference": image,
        "text": TEXTS[text](concept, caption),
        "targets": _targets(record, where=where) if labelled else [],
        "excluded": [image] if reference == "exclude" else [],
        "tags": _aspects(record, where=where),
    }


def _aspects(record: Any, *, where: str) -> list[str]:
    """Return the semantic aspects, a field that older copies and the test split lack."""
    if "semantic_aspects" not in record:
        return []
    return checked_list(record, "semantic_aspects", str, where=where)


def _targets(record: Any, *, where: str) -> list[str]:
    """Return the targets, each once, the image the caption was written for first."""
    first = checked(record, "target_img_id", int, where=where)
    others = checked_list(record, "gt_img_ids", int, where=where)
    if first not in others:
        raise DatasetError(
            f"{where}: expected 'gt_img_ids' to hold target_img_id {first}, got {others}."
        )
    return list(dict.fromkeys(map(str, [first, *others])))
