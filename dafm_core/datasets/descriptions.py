"""Light descriptions of the datasets that are read from files; no reader is imported."""

from __future__ import annotations

from dafm_core.contract.descriptions import DatasetInfo, Option

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
        Option(
            name="captions",
            summary="separate: each of the two captions is a query of its own",
            default="joined",
            choices=("joined", "separate"),
        ),
        _IMAGES,
        _bank("val", "train", "test"),
    ),
)
CIRCO = DatasetInfo(
    name="circo",
    summary="COCO photographs with several targets; the reference stays in the ranking",
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
        Option(
            name="reference",
            summary="whether it stays in the ranking; exclude is a protocol of its own",
            default="keep",
            choices=("keep", "exclude"),
        ),
        _IMAGES,
        _bank("val", "test"),
    ),
)
FOLDER = DatasetInfo(
    name="folder",
    summary="your own images/ with queries.jsonl, .json, .csv or .parquet",
    factory="dafm_core.datasets.folder:load",
    options=(
        Option(
            name="reference",
            summary="whether it stays in the ranking; exclude is a protocol of its own",
            default="keep",
            choices=("keep", "exclude"),
        ),
        Option(
            name="links",
            summary="where links among the images may lead",
            default="inside",
            choices=("inside", "anywhere"),
        ),
    ),
)
PINPOINT = DatasetInfo(
    name="pinpoint",
    summary="photographs, one or two references, several targets, images named as wrong",
    factory="dafm_core.datasets.pinpoint:load",
    citation="PinPoint, CVPR 2026, arXiv 2603.04598",
    licence="data CC BY 4.0; images stated as CC BY 2.0",
    options=(
        Option(
            name="repeats",
            summary="whether ids listed twice count twice, as published",
            default="count",
            choices=("count", "once"),
        ),
        _IMAGES,
    ),
)
ICIR = DatasetInfo(
    name="icir",
    summary="instances, each with a gallery of its own",
    factory="dafm_core.datasets.icir:load",
    citation="Psomas et al., NeurIPS 2025, arXiv 2510.25387",
    licence="data CC BY-NC-SA 4.0",
    options=(Option(name="instances", summary="only these, separated by commas"), _IMAGES),
)
GENECIS = DatasetInfo(
    name="genecis",
    summary="four tasks, ten to fifteen candidates a query",
    factory="dafm_core.datasets.genecis:load",
    citation="Vaze et al., CVPR 2023",
    licence="annotations CC BY-NC 4.0",
    options=(
        Option(
            name="task",
            summary="which of the four",
            required=True,
            choices=("focus-attribute", "change-attribute", "focus-object", "change-object"),
        ),
        Option(
            name="text",
            summary="the bare condition, or a sentence around it",
            default="condition",
            choices=("condition", "sentence"),
        ),
        _IMAGES,
    ),
)
FREEDOM = DatasetInfo(
    name="freedom",
    summary="domain conversion: the same class in another domain",
    factory="dafm_core.datasets.freedom:load",
    citation="Efthymiadis et al., WACV 2025, arXiv 2412.03297",
    licence="lists MIT; images under the terms of their sites",
    options=(
        Option(
            name="set",
            summary="which of the four",
            required=True,
            choices=("imagenet-r", "mini-domainnet", "nico", "ltll"),
        ),
        Option(name="source", summary="only query images of this domain"),
        _IMAGES,
    ),
)
_MTEB = "Muennighoff et al., EACL 2023 (MTEB); Wei et al., ECCV 2024 (M-BEIR)"
MTEB = [
    DatasetInfo(
        name="mteb-cirr",
        summary="CIRR as MTEB ranks it: the reference stays; not comparable with cirr",
        factory="dafm_core.datasets.mteb:load_cirr",
        citation=_MTEB,
        licence="annotations MIT; images as NLVR2",
        options=(_IMAGES,),
    ),
    DatasetInfo(
        name="mteb-fashioniq",
        summary="FashionIQ as MTEB ranks it: the reference stays; not comparable with fashioniq",
        factory="dafm_core.datasets.mteb:load_fashioniq",
        citation=_MTEB,
        licence="annotations CDLA",
        options=(_IMAGES,),
    ),
]

BENCHMARKS = [CIRCO, CIRR, FASHIONIQ, FOLDER, FREEDOM, GENECIS, ICIR, *MTEB, PINPOINT]
