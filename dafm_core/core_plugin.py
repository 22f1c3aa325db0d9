"""What core itself offers, as one plugin file like any other: descriptions only.

Nothing is imported to list it; a factory's module is imported when it is used.
"""

from __future__ import annotations

from dafm_core.contract.descriptions import DatasetInfo, FuserInfo, Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl
from dafm_core.fusion.channels.options import DebiasedOptions, LogisticOptions
from dafm_core.fusion.light.options import LightOptions, PaperOptions

PROVIDERS = [
    ProviderInfo(
        name="scenes-color",
        summary="how much of each colour, anywhere; edited by the colour words of the text",
        factory="dafm_core.scenes.color:ColorProvider",
        licence="Apache-2.0",
    ),
    ProviderInfo(
        name="scenes-layout",
        summary="where something stands out from the ground; edited by the place words of the text",
        factory="dafm_core.scenes.layout:LayoutProvider",
        licence="Apache-2.0",
    ),
    ProviderInfo(
        name="scenes-shape",
        summary="directions and bends of edges; edited by the shape and size words of the text",
        factory="dafm_core.scenes.shape:ShapeProvider",
        licence="Apache-2.0",
    ),
    ProviderInfo(
        name="scenes-words",
        summary="checks what the text asks for, colour by colour and place by place",
        factory="dafm_core.scenes.words:WordsProvider",
        licence="Apache-2.0",
    ),
    ProviderInfo(
        name="scenes-verifier",
        summary="matches the things wanted with the things there; slow, scores a --shortlist only",
        factory="dafm_core.scenes.verifier:VerifierProvider",
        licence="Apache-2.0",
    ),
]

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
JUDGEMENTS = DatasetInfo(
    name="judgements",
    summary="queries that were judged on the page of dafm serve; PATH is the file",
    factory="dafm_core.datasets.judgements:load",
    options=(
        Option(name="index", summary="the index that was judged, if it has moved", kind="path"),
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
    summary="your own images/ with queries.jsonl, .csv or .parquet",
    factory="dafm_core.datasets.folder:load",
)

SCENES = DatasetInfo(
    name="scenes",
    summary="embedded: coloured shapes on textured grounds, rendered into a cache on first use",
    factory="dafm_core.scenes.dataset:load",
    splits=("val", "train"),
    needs_path=False,
    licence="Apache-2.0",
    options=(
        Option(name="families", summary="scene families, six images each", kind="int", default=432),
        Option(name="seed", summary="another world of the same kind", kind="int", default=0),
    ),
)

DATASETS = [CIRCO, CIRR, FASHIONIQ, FOLDER, JUDGEMENTS, SCENES]

_OBJECTIVE = Option(
    name="objective",
    summary="metric to tune for; the mean of the protocol's metrics where left out",
)
_NORMALIZE = Option(
    name="normalize",
    summary="row normalisation; chosen on the training queries where left out",
    choices=("zscore", "minmax", "rank", "none"),
)

STATIC_FUSERS = [
    FuserInfo(
        name="best-single",
        summary="the provider that ranks the training queries best: a reference, no fusion",
        factory="dafm_core.fusion.static.average:BestSingle",
        kind="single",
        options=(_OBJECTIVE,),
    ),
    FuserInfo(
        name="mean",
        summary="mean of normalised scores; normalisation tuned",
        factory="dafm_core.fusion.static.average:MeanFusion",
        kind="static",
        citation="Fox and Shaw, TREC-2, 1994 (CombSUM)",
        options=(_NORMALIZE, _OBJECTIVE),
    ),
    FuserInfo(
        name="max",
        summary="maximum of normalised scores; normalisation tuned",
        factory="dafm_core.fusion.static.average:MaxFusion",
        kind="static",
        citation="Fox and Shaw, TREC-2, 1994 (CombMAX)",
        options=(_NORMALIZE, _OBJECTIVE),
    ),
    FuserInfo(
        name="weighted",
        summary="weighted mean of normalised scores; weights learned on the simplex",
        factory="dafm_core.fusion.static.weighted:WeightedFusion",
        kind="static",
        options=(_NORMALIZE, _OBJECTIVE),
    ),
    FuserInfo(
        name="voting-borda",
        summary="mean share of candidates beaten",
        factory="dafm_core.fusion.static.voting:borda",
        kind="static",
        citation="Aslam and Montague, SIGIR 2001",
    ),
    FuserInfo(
        name="voting-rrf",
        summary="sum of reciprocal ranks; constant tuned",
        factory="dafm_core.fusion.static.voting:rrf",
        kind="static",
        citation="Cormack et al., SIGIR 2009",
        options=(
            Option(name="constant", summary="added to every rank", kind="float"),
            _OBJECTIVE,
        ),
    ),
    FuserInfo(
        name="voting-majority",
        summary="number of providers with the candidate among their first; depth tuned",
        factory="dafm_core.fusion.static.voting:majority",
        kind="static",
        options=(
            Option(name="constant", summary="ranks that count as a vote", kind="float"),
            _OBJECTIVE,
        ),
    ),
    FuserInfo(
        name="margin",
        summary="z-scores weighted per query by each provider's confidence margin; sharpness tuned",
        factory="dafm_core.fusion.static.margin:MarginFusion",
        kind="static",
        options=(
            Option(
                name="sharpness",
                summary="above 0; larger: the surest model decides more",
                kind="float",
            ),
            _OBJECTIVE,
        ),
    ),
    FuserInfo(
        name="debiased",
        summary="needs no labels: fixed weights, and a query bank against each model's favourites",
        factory="dafm_core.fusion.debiased:DebiasedFusion",
        kind="static",
        options=DebiasedOptions.described(),
    ),
]
"""Rules with at most a weight per provider or a constant to tune, or with fixed weights."""

_PAPER = "DAFM, arXiv 2511.05020"

LEARNED_FUSERS = [
    FuserInfo(
        name="logistic",
        summary="logistic stacking: is this candidate the target?",
        factory="dafm_core.fusion.logistic:LogisticFusion",
        kind="learned",
        citation="Wolpert, Neural Networks 5, 1992",
        options=LogisticOptions.described(),
    ),
    FuserInfo(
        name="light",
        summary="LightFusion: linear in scores, bank, ranks and neighbours, plus a small network",
        factory="dafm_core.fusion.light.fuser:LightFusion",
        kind="learned",
        citation=_PAPER,
        options=LightOptions.described(),
    ),
    FuserInfo(
        name="light-paper",
        summary="the network as the paper prints it: depends on the order of the gallery",
        factory="dafm_core.fusion.paper:PaperFusion",
        kind="learned",
        citation=_PAPER,
        options=PaperOptions.described(),
    ),
]
"""Fusers with learned weights."""

FUSERS = [*STATIC_FUSERS, *LEARNED_FUSERS]
"""All of core's fusers, in the order in which they are listed."""


@hookimpl
def dafm_similarity_providers() -> list[ProviderInfo]:
    """Return the four toy providers of the embedded dataset."""
    return PROVIDERS


@hookimpl
def dafm_fusers() -> list[FuserInfo]:
    """Return static rules, the label-free one among them, logistic stacking and LightFusion."""
    return FUSERS


@hookimpl
def dafm_datasets() -> list[DatasetInfo]:
    """Return the readers of published benchmarks, of a team's own folder, and of scenes."""
    return DATASETS
