"""Static rules: at most a weight per provider or a constant to tune, NumPy only."""

from dafm_core.fusion.static.average import BestSingle, MaxFusion, MeanFusion
from dafm_core.fusion.static.margin import MarginFusion
from dafm_core.fusion.static.voting import VotingFusion
from dafm_core.fusion.static.weighted import WeightedFusion

__all__ = [
    "BestSingle",
    "MarginFusion",
    "MaxFusion",
    "MeanFusion",
    "VotingFusion",
    "WeightedFusion",
]
