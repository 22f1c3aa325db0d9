"""Core's own fusers by name, described; nothing is imported until one is used."""

from __future__ import annotations

from dafm_core.descriptions import FuserInfo, Option

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
        kind="static",
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
            Option(name="sharpness", summary="0 is the plain mean", kind="float"),
            _OBJECTIVE,
        ),
    ),
]
"""Rules with at most a weight per provider or a constant to tune."""

_INPUTS = Option(
    name="inputs",
    summary="comma-separated: minmax, rows, columns, restandardized, ranks, reverse, topics, "
    "neighbours, neighbour-rows",
)
_SEED = Option(name="seed", summary="seed of every random draw", kind="int", default=0)
_PAPER = "DAFM, arXiv 2511.05020"

LEARNED_FUSERS = [
    FuserInfo(
        name="logistic",
        summary="logistic stacking: is this candidate the target?",
        factory="dafm_core.fusion.logistic:LogisticFusion",
        kind="learned",
        citation="Wolpert, Neural Networks 5, 1992",
        options=(_INPUTS, _SEED),
    ),
    FuserInfo(
        name="light",
        summary="LightFusion: linear in scores, bank, ranks and neighbours, plus a small network",
        factory="dafm_core.fusion.light:LightFusion",
        kind="learned",
        citation=_PAPER,
        options=(
            _INPUTS,
            Option(
                name="network",
                summary="what is learned beyond linear weights",
                choices=("residual", "linear"),
            ),
            Option(
                name="objective",
                summary="rank the gallery, the query's subset, or both",
                choices=("weighted", "gallery", "subset"),
            ),
            Option(name="subset_weight", summary="of the subset's loss", kind="float"),
            Option(
                name="candidates",
                summary="train on a sample of the candidates or on all",
                choices=("sampled", "exact"),
            ),
            _SEED,
        ),
    ),
    FuserInfo(
        name="light-paper",
        summary="the paper's LightFusion: depends on the order of the gallery",
        factory="dafm_core.fusion.light:light_paper",
        kind="learned",
        citation=_PAPER,
        options=(
            Option(
                name="gallery_order",
                summary="order of the candidates in training",
                choices=("shuffled", "file"),
            ),
            Option(
                name="temperature_rule",
                summary="how the temperature reacts to the loss",
                choices=("paper", "adaptive", "learned", "fixed"),
            ),
            _SEED,
        ),
    ),
]
"""Fusers with learned weights."""

FUSERS = [*STATIC_FUSERS, *LEARNED_FUSERS]
"""All of core's fusers, in the order in which they are listed."""
