"""PinPoint: photographs from Pinterest, several targets, images named as wrong, one or two
references.

Reads ``pinpoint_licensed.parquet`` and ``index_signatures.txt`` as they are published. The gallery
is the index in the order of its file; no reference is removed from a ranking, as in the published
evaluation, and some are named as wrong themselves.

Where the published evaluation differs, on purpose: it looks at lists of 50, from which it removes
the negatives for ``map-noneg``; here they are removed from the whole ranking. Its breakdown over
paraphrases has no column that says which those are, and is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.datasets.reading import checked, checked_list, choose, image_folder
from dafm_core.errors import DatasetError
from dafm_core.ground.files import read_ids
from dafm_core.ground.groups import connected_groups
from dafm_core.ground.ids import Ids
from dafm_core.ground.sources import source_table

NO_IMAGE: Final = "None"
"""What stands for a missing second reference: these letters, not null."""
REPEATS: Final = ("count", "once")
METRICS: Final = (
    *(f"map@{k}" for k in (10, 5, 50)),
    *(f"precision@{k}" for k in (1, 5, 10)),
    *(f"recall@{k}" for k in (1, 5, 10, 50)),
)


def load(
    path: str | Path,
    *,
    split: str | None = None,
    repeats: str = "count",
    images: str | Path | None = None,
) -> Dataset:
    """Read PinPoint.

    Parameters
    ----------
    path : path
        The folder with ``pinpoint_licensed.parquet`` and ``index_signatures.txt``.
    split : None
        There is one split.
    repeats : {"count", "once"}
        Lists of candidates repeat some ids. ``count``: the published denominators, which count a
        repeated id each time, so that even a perfect ranking may stay below 1. ``once``: a
        protocol of its own.
    images : path, optional
        Folder of ``SIGNATURE.jpg``; by default ``images/`` below ``path``.

    Returns
    -------
    Dataset
        Protocol ``pinpoint`` or ``pinpoint-once``. Tags are the query's category, length and
        number of references. Besides its metrics, ``negrecall@K`` and ``map-noneg@K`` are defined.

    Raises
    ------
    DatasetError
        If a file is missing or malformed; the message names file, query and field.

    References
    ----------
    PinPoint, CVPR 2026, arXiv 2603.04598.
    """
    folder = Path(path)
    if split is not None:
        raise DatasetError(f"{folder}: PinPoint has no splits, got split {split!r}.")
    choose(repeats, REPEATS, where="pinpoint: option 'repeats'")
    table = folder / "pinpoint_licensed.parquet"
    gallery = Ids(read_ids(folder / "index_signatures.txt"))
    rows = [
        _row(record, repeats, where=f"{table}: query {number}")
        for number, record in enumerate(_records(table))
    ]
    groups = connected_groups([[*row["references"], *row["targets"]] for row in rows])
    for row, first in zip(rows, groups, strict=True):
        row["group"] = rows[first]["query_id"]
    root = image_folder(images, (folder / "images",), where="pinpoint")
    return Dataset(
        protocol="pinpoint" if repeats == "count" else "pinpoint-once",
        gallery_ids=gallery,
        queries=query_frame(rows, where=str(table)),
        images={} if root is None else {i: root / f"{i}.jpg" for i in gallery},
        metrics=METRICS,
    )


def _records(table: Path) -> list[dict[str, Any]]:
    try:
        return source_table(table).to_dicts()
    except FileNotFoundError:
        raise DatasetError(f"{table}: no such file. Check the dataset's path.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{table}: expected a parquet table ({error}).") from None


def _row(record: dict[str, Any], repeats: str, *, where: str) -> dict[str, Any]:
    first = checked(record, "query_image_signature", str, where=where)
    second = record.get("query_image_signature2")
    references = [first] if second in (None, NO_IMAGE) else [first, str(second)]
    tags = [
        str(record[name]).lower()
        for name in ("query_category", "length_category")
        if name in record
    ]
    listed = {
        name: checked_list(record, f"{name[:-1]}_candidates", str, where=where)
        for name in ("positives", "negatives")
    }
    if not listed["positives"]:
        raise DatasetError(f"{where}: expected a positive candidate, got none.")
    targets, negatives = (_with_repeats(ids, repeats) for ids in listed.values())
    return {
        "query_id": checked(record, "query_id", str, where=where),
        "references": references,
        "text": checked(record, "instruction", str, where=where),
        "targets": targets,
        "negatives": negatives,
        "tags": [*tags, "one reference" if len(references) == 1 else "two references"],
    }


def _with_repeats(ids: Sequence[str], repeats: str) -> list[str]:
    """Return ids once each; to count repeats, each further one as an image that nobody can find."""
    distinct = list(dict.fromkeys(ids))
    if repeats == "once":
        return distinct
    counts = Counter(ids)
    return distinct + [f"{i} again {n}" for i in distinct for n in range(1, counts[i])]
