"""What this plugin offers, described without importing LightGBM."""

from __future__ import annotations

from dafm_core.contract.descriptions import FuserInfo, Option
from dafm_core.contract.hookspecs import hookimpl

dafm_api_version = 1


@hookimpl
def dafm_fusers() -> list[FuserInfo]:
    """Describe the fuser."""
    return [
        FuserInfo(
            name="lambdamart",
            summary="boosted trees with the LambdaRank objective, over standardised scores",
            factory="dafm_plugin_lambdamart.fuser:LambdaMartFusion",
            kind="learned",
            citation="Burges, MSR-TR-2010-82; Ke et al., LightGBM, NeurIPS 2017",
            options=(
                Option(name="inputs", summary="channels, comma-separated; by default light's"),
                Option(name="n_trees", kind="int", default=100, summary="boosting rounds"),
                Option(name="n_leaves", kind="int", default=15, summary="leaves of a tree"),
                Option(name="learning_rate", kind="float", default=0.1, summary="of each tree"),
                Option(name="min_leaf", kind="int", default=100, summary="candidates in a leaf"),
                Option(
                    name="n_hard",
                    kind="int",
                    default=30,
                    summary="best candidates of each provider to learn from",
                ),
                Option(name="n_random", kind="int", default=100, summary="others to learn from"),
                Option(
                    name="monotone",
                    kind="bool",
                    default=True,
                    summary="a higher score may only raise a candidate",
                ),
                Option(name="seed", kind="int", default=0, summary="of draws and of LightGBM"),
            ),
        )
    ]
