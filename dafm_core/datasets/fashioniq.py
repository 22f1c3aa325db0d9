"""FashionIQ: clothes, one target per query, two captions by two annotators, three categories.

Reads the published files (``captions/cap.CATEGORY.SPLIT.json``,
``image_splits/split.CATEGORY.SPLIT.json``) as they are. The literature evaluates in two ways that
must never share a table, so each is a protocol:

``original``
    The gallery is the whole split file, and the reference stays in the ranking (CLIP4CIR, BLIP4CIR,
    SPRC).
``union``
    The gallery is the references and targets of the split's queries, in the order of the split
    file, and the reference is excluded (TG-CIR and others after TIRG's evaluation).

FashionIQ has no image sets. Queries form one group where they share an image, as reference or as
target, directly or through other queries: scores of one image's column are then never on both sides
of a split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import polars as pl

from dafm_core.datasets.bank import as_bank
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
from dafm_core.errors import DatasetError, OptionError
from dafm_core.ground.groups import connected_groups
from dafm_core.ground.ids import Ids

CATEGORIES: Final = ("dress", "shirt", "toptee")
CAPTIONS: Final = ("joined", "separate")
SPLITS: Final = ("val", "train", "test")
GALLERIES: Final = ("original", "union")
REFERENCES: Final = ("keep", "exclude")
METRICS: Final = ("recall@10", "recall@50", "recall@1", "rmean-fashioniq")


def _stripped(caption: str) -> str:
    return caption.strip(".?, ")


JOINS: Final[Mapping[str, Callable[[str, str], str]]] = MappingProxyType(
    {
        "and": lambda a, b: f"{_stripped(a).capitalize()} and {_stripped(b)}",
        "comma-and": lambda a, b: f"{_stripped(a).capitalize()}, and {_stripped(b)}",
        "reversed": lambda a, b: f"{_stripped(b).capitalize()} and {_stripped(a)}",
        "plain": lambda a, b: f"{a} and {b}",
        "first": lambda a, b: a,
        "second": lambda a, b: b,
        "lines": lambda a, b: f"{a}\n{b}",
    }
)
"""How two captions become one text. ``and`` strips the characters ``.?,`` and blanks from both ends
of each and capitalises the first: what CLIP4CIR, BLIP4CIR and SPRC were evaluated with, and the
same as TG-CIR's own form once its provider has cleaned the words. ``lines`` keeps both as they are,
one a line, for a provider that prepares them itself (BLIP4CIR+Bi with ``captions=lines``)."""


def load(
    path: str | Path,
    *,
    category: str,
    split: str = "val",
    gallery: str = "original",
    reference: str | None = None,
    join: str = "and",
    captions: str = "joined",
    images: str | Path | None = None,
    bank: str | None = None,
) -> Dataset:
    """Read one category and split of FashionIQ.

    Parameters
    ----------
    path : path
        The folder with ``captions/`` and ``image_splits/``.
    category : {"dress", "shirt", "toptee"}
    split : {"val", "train", "test"}
        test has no targets.
    gallery : {"original", "union"}
    reference : {"keep", "exclude"}, optional
        Whether the reference stays in the ranking; by default as the gallery's protocol has it. The
        other choice is a protocol of its own, named ``...-reference-kept`` or
        ``...-reference-excluded``.
    join : str
        How the two captions become one text, see :data:`JOINS`; recorded in every passport.
    captions : {"joined", "separate"}
        ``separate``: each of the two captions is a query of its own, as VAL evaluates too; ``join``
        is not asked then. A protocol of its own, named ``...-captions``.
    images : path, optional
        Folder of the image files, or of folders named like the categories; by default ``images/``
        or ``resized_image/`` below ``path``, where there is one.
    bank : {"val", "train", "test"}, optional
        Take the queries of this split instead, without labels, against the gallery of ``split``.

    Returns
    -------
    Dataset
        Protocol ``fashioniq-CATEGORY-SPLIT-GALLERY``; query ids ``CATEGORY-SPLIT-NUMBER``, by place
        in the file.

    Raises
    ------
    DatasetError
        If a file is missing or malformed; the message names file, query and field.
    OptionError
        For an unknown choice.

    References
    ----------
    Wu et al., Fashion IQ: A New Dataset Towards Retrieving Images by Natural Language Feedback,
    CVPR 2021.
    """
    choose(category, CATEGORIES, where="fashioniq: option 'category'")
    choose(split, SPLITS, where="fashioniq: split")
    choose(gallery, GALLERIES, where="fashioniq: option 'gallery'")
    choose(join, tuple(JOINS), where="fashioniq: option 'join'")
    choose(captions, CAPTIONS, where="fashioniq: option 'captions'")
    usual = "keep" if gallery == "original" else "exclude"
    reference = choose(reference or usual, REFERENCES, where="fashioniq: option 'reference'")
    protocol = f"fashioniq-{category}-{split}-{gallery}"
    if reference != usual:
        protocol += "-reference-kept" if reference == "keep" else "-reference-excluded"
    if captions == "separate":
        protocol += "-captions"
    joins = (join,) if captions == "joined" else ("first", "second")
    queries, listed = _read(Path(path), category, split, joins)
    if reference == "keep":
        queries = queries.with_columns(excluded=pl.lit([], dtype=pl.List(pl.String)))
    dataset = Dataset(
        protocol=protocol,
        gallery_ids=listed if gallery == "original" else _of_queries(queries, listed, protocol),
        queries=queries,
        images=_images(Path(path), category, listed, images),
        metrics=METRICS,
        options={"join": join if captions == "joined" else "none"},
    )
    if bank is None:
        return dataset
    choose(bank, SPLITS, where="fashioniq: option 'bank'")
    queries, listed = _read(Path(path), category, bank, joins)
    asked = replace(
        dataset,
        gallery_ids=listed,
        queries=queries,
        images=_images(Path(path), category, listed, images),
    )
    return as_bank(asked, dataset, protocol=f"{protocol}-bank-{bank}")


def _read(
    folder: Path, category: str, split: str, joins: Sequence[str]
) -> tuple[pl.DataFrame, Ids]:
    """Return the queries, one per row and way to join its captions, references excluded, and the
    ids of the split file.
    """
    gallery_file = folder / "image_splits" / f"split.{category}.{split}.json"
    caption_file = folder / "captions" / f"cap.{category}.{split}.json"
    listed = checked_list(
        {"ids": read_json(gallery_file, list)}, "ids", str, where=str(gallery_file)
    )
    rows = [
        _row(record, join=join, labelled=split != "test", where=f"{caption_file}: query {number}")
        | {"query_id": f"{category}-{split}-{number}" + (f"-{join}" if len(joins) > 1 else "")}
        for number, record in enumerate(read_json(caption_file, list))
        for join in joins
    ]
    groups = connected_groups([[row["reference"], *row["targets"]] for row in rows])
    for row, group in zip(rows, groups, strict=True):
        row["group"] = f"{category}-{split}-{group}"
    return query_frame(rows, where=str(caption_file)), Ids(listed)


def _row(record: Any, *, join: str, labelled: bool, where: str) -> dict[str, Any]:
    captions = checked_list(record, "captions", str, where=where)
    if len(captions) != 2:
        raise DatasetError(f"{where}: expected two captions, got {len(captions)}.")
    reference = checked(record, "candidate", str, where=where)
    return {
        "reference": reference,
        "text": JOINS[join](*captions),
        "targets": [checked(record, "target", str, where=where)] if labelled else [],
        "excluded": [reference],
    }


def _of_queries(queries: pl.DataFrame, listed: Ids, protocol: str) -> Ids:
    """Return the references and targets of the queries, in the order of the split file."""
    targets = queries["targets"].explode().drop_nulls().to_list()
    if not targets:
        raise OptionError(
            f"{protocol}: the union gallery needs targets, which this split has not. "
            "Use gallery=original."
        )
    used = {*queries["references"].explode().to_list(), *targets}
    return Ids(image_id for image_id in listed if image_id in used)


def _images(
    folder: Path, category: str, ids: tuple[str, ...], given: str | Path | None
) -> dict[str, Path]:
    image_folder(given, (), where="fashioniq")
    roots = [folder / "images", folder / "resized_image"] if given is None else [Path(given)]
    candidates = [root / part for root in roots for part in (category, ".")]
    root = image_folder(None, candidates, where="fashioniq")
    return {} if root is None else images_by_stem(root, ids)
