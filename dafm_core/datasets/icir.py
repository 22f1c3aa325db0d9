"""i-CIR: instances, each with a gallery of its own of photographs, composed positives and hard
negatives.

Reads ``query_files.csv`` and ``database_files.csv``: image path, text and instance, without a
header and without quoting. A query is ranked against the database rows of its instance; relevant
are those whose text is the query's, word for word. Nothing is excluded.

The files themselves were not at hand when this was written: the layout is that of the authors' own
reader. What their text column holds for hard negatives does not matter to it.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.datasets.reading import image_folder, inside
from dafm_core.errors import DatasetError, OptionError, closest
from dafm_core.ground.ids import Ids
from dafm_core.ground.sources import source_text

METRICS: Final = ("map-trapezoid", "recall@1", "recall@10", "recall@100")
NOTHING: Final = "no image of the database"
"""The target of a query that has none: never retrieved, so that it counts 0, as published."""


def load(
    path: str | Path,
    *,
    split: str | None = None,
    instances: str | None = None,
    images: str | Path | None = None,
) -> Dataset:
    """Read i-CIR.

    Parameters
    ----------
    path : path
        The folder with the two CSV files.
    split : None
        There is one split.
    instances : str, optional
        Names separated by commas: only these, with their galleries, as a protocol of their own.
        The whole has about 750,000 images, and rows of that many columns.
    images : path, optional
        Folder that the paths start from; by default that of the files, or the one above where the
        paths begin with its name.

    Returns
    -------
    Dataset
        Protocol ``icir`` or ``icir-part``; ids are the paths; the group and tag is the instance.

    Raises
    ------
    DatasetError
        If a file is missing or malformed; the message names file and line.
    OptionError
        For an unknown instance.

    References
    ----------
    Psomas et al., Instance-Level Composed Image Retrieval, NeurIPS 2025, arXiv 2510.25387.
    """
    folder = Path(path)
    if split is not None:
        raise DatasetError(f"{folder}: i-CIR has no splits, got split {split!r}.")
    asked, listed = (_rows(folder / f"{name}_files.csv") for name in ("query", "database"))
    if instances is not None:
        chosen = {name.strip() for name in instances.split(",")}
        known = {instance for _, _, instance in asked}
        for name in sorted(chosen - known):
            raise OptionError(f"icir: option 'instances': no {name!r}{closest(name, known)}")
        asked, listed = ([row for row in rows if row[2] in chosen] for rows in (asked, listed))
    members: dict[str, list[str]] = defaultdict(list)
    relevant: dict[tuple[str, str], list[str]] = defaultdict(list)
    for image, text, instance in listed:
        members[instance].append(image)
        relevant[instance, text].append(image)
    rows = [
        {
            "query_id": f"{number:05d}",
            "reference": image,
            "text": text,
            "group": instance,
            "targets": relevant.get((instance, text)) or [NOTHING],
            "candidates": members[instance],
            "tags": [instance],
        }
        for number, (image, text, instance) in enumerate(asked)
    ]
    gallery = Ids(dict.fromkeys(image for image, _, _ in listed))
    return Dataset(
        protocol="icir" if instances is None else "icir-part",
        gallery_ids=gallery,
        queries=query_frame(rows, where=str(folder / "query_files.csv")),
        images=_images(folder, [*gallery, *(image for image, _, _ in asked)], images),
        metrics=METRICS,
    )


def _rows(path: Path) -> list[tuple[str, str, str]]:
    try:
        lines = source_text(path).split("\n")
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file. Check the dataset's path.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected a text file ({error}).") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 3:
            rows.append((cells[0], cells[1], cells[2]))
        elif line.strip():
            raise DatasetError(
                f"{path}: line {number}: expected image path, text, instance, got {line[:60]!r}."
            )
    if not rows:
        raise DatasetError(f"{path}: expected a row per image, got none.")
    return rows


def _images(folder: Path, ids: list[str], given: str | Path | None) -> dict[str, Path]:
    first = ids[0].replace("\\", "/").split("/")[0]
    root = image_folder(given, (folder, folder.parent), below=first, where="icir")
    return {} if root is None else {i: inside(root, i, where="icir") for i in ids}
