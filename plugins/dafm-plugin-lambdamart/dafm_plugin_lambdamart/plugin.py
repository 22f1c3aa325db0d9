"""What this plugin offers, described without importing LightGBM."""

from __future__ import annotations

from dafm_core.contract.descriptions import FuserInfo
from dafm_core.contract.hookspecs import hookimpl
from dafm_plugin_lambdamart.options import LambdaMartOptions

dafm_api_version = 2


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
            options=LambdaMartOptions.described(),
        )
    ]
