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

FUSERS = [*STATIC_FUSERS]
"""All of core's fusers, in the order in which they are listed."""
