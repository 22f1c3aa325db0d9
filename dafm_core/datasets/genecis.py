"""GeneCIS: four tasks of focusing on or changing an attribute or object, few candidates each.

Reads the four published files (``genecis/TASK.json``). A query is ranked against its own
candidates, the target and the listed gallery; nothing is excluded. In the attribute tasks an item
is a box of an image, so its id is both, ``IMAGE@X,Y,W,H``; the crops are images of their own, which
a folder has to hold as ``crops/ID.jpg`` (the authors' loader dilates a box by 0.7, and pads it to a
square with black).

The benchmark's headline is the mean of the four tasks' R@1; each task is a protocol of its own.
The files of the attribute tasks were not at hand when this was written: their fields are those that
the authors' own loader reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.datasets.reading import (
    checked,
    checked_list,
    choose,
    image_folder,
    images_by_stem,
    read_json,
)
from dafm_core.errors import DatasetError
from dafm_core.ground.ids import Ids

TASKS: Final = ("focus-attribute", "change-attribute", "focus-object", "change-object")
METRICS: Final = ("recall@1", "recall@2", "recall@3")
TEXTS: Final = ("condition", "sentence")
_SENTENCES: Final = {
    "focus-attribute": "Focus on the attribute of {}",
    "change-attribute": "Change the attribute to {}",
    "focus-object": "Focus on the object {}",
    "change-object": "Change an object of the image to {}",
}


def load(
    path: str | Path,
    *,
    task: str,
    split: str | None = None,
    text: str = "condition",
    images: str | Path | None = None,
) -> Dataset:
    """Read one task of GeneCIS.

    Parameters
    ----------
    path : path
        The folder with ``focus_attribute.json`` and the others, or one that holds it as
        ``genecis/``.
    task : {"focus-attribute", "change-attribute", "focus-object", "change-object"}
    split : None
        There is one split.
    text : {"condition", "sentence"}
        The bare condition, one or two words, or a sentence around it; recorded in every passport.
    images : path, optional
        Folder of image files; by default ``val2017/`` (object tasks) or ``crops/`` below ``path``.

    Returns
    -------
    Dataset
        Protocol ``genecis-TASK``; query ids are places in the file; the group is the reference.

    Raises
    ------
    DatasetError
        If a file is missing or malformed; the message names file, query and field.

    References
    ----------
    Vaze et al., GeneCIS: A Benchmark for General Conditional Image Similarity, CVPR 2023.
    """
    choose(task, TASKS, where="genecis: option 'task'")
    choose(text, TEXTS, where="genecis: option 'text'")
    folder = Path(path) / "genecis" if (Path(path) / "genecis").is_dir() else Path(path)
    if split is not None:
        raise DatasetError(f"{folder}: GeneCIS has no splits, got split {split!r}.")
    file = folder / f"{task.replace('-', '_')}.json"
    phrase = _SENTENCES[task] if text == "sentence" else "{}"
    rows = [
        _row(record, number, phrase, where=f"{file}: query {number}")
        for number, record in enumerate(read_json(file, list))
    ]
    gallery = Ids(dict.fromkeys(image for row in rows for image in row["candidates"]))
    usual = "val2017" if task.endswith("object") else "crops"
    root = image_folder(images, (folder / usual, Path(path) / usual), where="genecis")
    named = {*gallery, *(row["reference"] for row in rows)}
    return Dataset(
        protocol=f"genecis-{task}",
        gallery_ids=gallery,
        queries=query_frame(rows, where=str(file)),
        images={} if root is None else images_by_stem(root, named),
        metrics=METRICS,
        options={"text": text},
    )


def _row(record: Any, number: int, phrase: str, *, where: str) -> dict[str, Any]:
    reference, target = (
        _item(checked(record, name, dict, where=where), where=f"{where}: {name}")
        for name in ("reference", "target")
    )
    listed = [
        _item(item, where=f"{where}: gallery {place}")
        for place, item in enumerate(checked(record, "gallery", list, where=where))
    ]
    return {
        "query_id": str(number),
        "reference": reference,
        "text": phrase.format(checked(record, "condition", str, where=where)),
        "group": reference,
        "targets": [target],
        "candidates": list(dict.fromkeys([target, *listed])),
    }


def _item(item: Any, *, where: str) -> str:
    """Return the id of an item: COCO's file name without its suffix, or image and box."""
    if isinstance(item, dict) and "val_image_id" in item:
        return f"{checked(item, 'val_image_id', int, where=where):012d}"
    image = item.get("image_id") if isinstance(item, dict) else None
    if not isinstance(image, int | str) or isinstance(image, bool):
        raise DatasetError(f"{where}: expected 'val_image_id' or 'image_id', got {item!r}.")
    box = checked_list(item, "instance_bbox", (int | float), where=where)  # type: ignore[arg-type]
    if len(box) != 4:
        raise DatasetError(f"{where}: expected four numbers in 'instance_bbox', got {box}.")
    return f"{image}@{','.join(f'{side:g}' for side in box)}"
