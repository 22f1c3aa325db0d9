"""dafm: fuse frozen composed-image-retrieval models, and say honestly whether it helps.

Names below are imported on first use, so that ``import dafm_core`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dafm_core.comparison import Comparison, compare
    from dafm_core.datasets.base import Dataset, query_frame
    from dafm_core.errors import DafmError
    from dafm_core.evaluation import Evaluation, evaluate, evaluate_run
    from dafm_core.fusion.base import Fuser, Run
    from dafm_core.fusion.light import LightFusion
    from dafm_core.fusion.logistic import LogisticFusion
    from dafm_core.fusion.saving import load_fuser, save_fuser
    from dafm_core.fusion.static import (
        BestSingle,
        MarginFusion,
        MaxFusion,
        MeanFusion,
        VotingFusion,
        WeightedFusion,
    )
    from dafm_core.images import ImageRef
    from dafm_core.plugins import PluginCatalog, load_dataset
    from dafm_core.provider import EncodingProvider, Option, ProviderInfo, Query, SimilarityProvider
    from dafm_core.scoring import score
    from dafm_core.stacking import SimilarityStack
    from dafm_core.store import SimilarityStore

_HOMES = {
    "BestSingle": "fusion.static",
    "Comparison": "comparison",
    "DafmError": "errors",
    "Dataset": "datasets.base",
    "EncodingProvider": "provider",
    "Evaluation": "evaluation",
    "Fuser": "fusion.base",
    "ImageRef": "images",
    "LightFusion": "fusion.light",
    "LogisticFusion": "fusion.logistic",
    "MarginFusion": "fusion.static",
    "MaxFusion": "fusion.static",
    "MeanFusion": "fusion.static",
    "Option": "provider",
    "PluginCatalog": "plugins",
    "ProviderInfo": "provider",
    "Query": "provider",
    "Run": "fusion.base",
    "SimilarityProvider": "provider",
    "SimilarityStack": "stacking",
    "SimilarityStore": "store",
    "VotingFusion": "fusion.static",
    "WeightedFusion": "fusion.static",
    "compare": "comparison",
    "evaluate": "evaluation",
    "evaluate_run": "evaluation",
    "load_dataset": "plugins",
    "load_fuser": "fusion.saving",
    "query_frame": "datasets.base",
    "save_fuser": "fusion.saving",
    "score": "scoring",
}

__all__ = sorted(_HOMES)  # one list of names, not two


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dafm_core' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dafm_core.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
