"""Core's own datasets, described; each reader is imported when it is used."""

from __future__ import annotations

from dafm_core.datasets.scenes import INFO as SCENES
from dafm_core.descriptions import DatasetInfo, Option

_IMAGES = Option(name="images", summary="folder of the image files", kind="path")


def _bank(*splits: str) -> Option:
    return Option(
        name="bank",
        summary="queries of this split instead, without labels: for column statistics",
        choices=splits,
    )


CIRR = DatasetInfo(
    name="cirr",
    summary="real-life photographs with six-image subsets; the reference is excluded",
    factory="dafm_core.datasets.cirr:load",
    splits=("val", "train", "test1"),
    citation="Liu et al., ICCV 2021",
    licence="annotations MIT; images as NLVR2",
    options=(_IMAGES, _bank("val", "train", "test1")),
)
FASHIONIQ = DatasetInfo(
    name="fashioniq",
    summary="clothes in three categories, with either of the two galleries in use",
    factory="dafm_core.datasets.fashioniq:load",
    splits=("val", "train", "test"),
    citation="Wu et al., CVPR 2021",
    licence="annotations CDLA",
    options=(
        Option(
            name="category",
            summary="which clothes",
            required=True,
            choices=("dress", "shirt", "toptee"),
        ),
        Option(
            name="gallery",
            summary="the whole split file, or the images of its queries",
            default="original",
            choices=("original", "union"),
        ),
        Option(
            name="reference",
            summary="whether it stays in the ranking (original: keep, union: exclude)",
            choices=("keep", "exclude"),
        ),
        Option(
            name="join",
            summary="how the two captions become one text",
            default="and",
            choices=("and", "comma-and", "reversed", "plain", "first", "second", "lines"),
        ),
        _IMAGES,
        _bank("val", "train", "test"),
    ),
)
CIRCO = DatasetInfo(
    name="circo",
    summary="COCO photographs with several targets; the reference is excluded",
    factory="dafm_core.datasets.circo:load",
    splits=("val", "test"),
    citation="Baldrati et al., ICCV 2023",
    licence="annotations CC BY-NC 4.0",
    options=(
        Option(
            name="text",
            summary="the relative caption, or 'CONCEPT that CAPTION'",
            default="caption",
            choices=("caption", "concept"),
        ),
        _IMAGES,
        _bank("val", "test"),
    ),
)
FOLDER = DatasetInfo(
    name="folder",
    summary="your own images/ with queries.jsonl, .csv or .parquet",
    factory="dafm_core.datasets.folder:load",
)

DATASETS: list[DatasetInfo] = [CIRCO, CIRR, FASHIONIQ, FOLDER, SCENES]
