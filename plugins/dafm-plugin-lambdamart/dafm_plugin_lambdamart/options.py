"""Options of the fuser; imports neither NumPy nor LightGBM, so that they can be listed."""

from __future__ import annotations

from dataclasses import dataclass

from dafm_core.contract.options import option
from dafm_core.fusion.channels.options import ChannelOptions


@dataclass(frozen=True, kw_only=True)
class LambdaMartOptions(ChannelOptions):
    """Options of LambdaMART."""

    owner = "lambdamart"

    # LightGBM takes at most 10,000 rows a query.
    n_hard: int = option(
        30, "best candidates of each provider to learn from", at_least=1, at_most=500
    )
    n_uniform: int = option(
        100, "other candidates to learn from, at least", at_least=1, at_most=5000
    )
    n_trees: int = option(100, "boosting rounds", at_least=1, at_most=10_000)
    n_leaves: int = option(15, "leaves of a tree", at_least=2, at_most=10_000)
    learning_rate: float = option(0.1, "of each tree", above=0, at_most=100)
    min_leaf: int = option(100, "candidates in a leaf, at least", at_least=1, at_most=1_000_000)
    monotone: bool = option(True, "whether a higher score may only raise a candidate")
