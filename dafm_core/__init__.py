"""dafm: fuse frozen composed-image-retrieval models, and say honestly whether it helps.

Names below are imported on first use, so that ``import dafm_core`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dafm_core.catalog import PluginCatalog as PluginCatalog
    from dafm_core.catalog import load_dataset as load_dataset
    from dafm_core.comparison.compare import compare as compare
    from dafm_core.comparison.incremental import incremental as incremental
    from dafm_core.comparison.result import Comparison as Comparison
    from dafm_core.contract.descriptions import Option as Option
    from dafm_core.contract.descriptions import ProviderInfo as ProviderInfo
    from dafm_core.contract.items import ImageRef as ImageRef
    from dafm_core.contract.items import Query as Query
    from dafm_core.contract.options import Options as Options
    from dafm_core.contract.options import option as option
    from dafm_core.contract.provider import EncodingProvider as EncodingProvider
    from dafm_core.contract.provider import PairProvider as PairProvider
    from dafm_core.contract.provider import SimilarityProvider as SimilarityProvider
    from dafm_core.datasets.base import Dataset as Dataset
    from dafm_core.datasets.query_frame import query_frame as query_frame
    from dafm_core.errors import DafmError as DafmError
    from dafm_core.evaluation.design import AsGiven as AsGiven
    from dafm_core.evaluation.design import Folds as Folds
    from dafm_core.evaluation.design import Train as Train
    from dafm_core.evaluation.evaluate import Evaluation as Evaluation
    from dafm_core.evaluation.evaluate import evaluate as evaluate
    from dafm_core.evaluation.evaluate import evaluate_run as evaluate_run
    from dafm_core.fusion.base import Fuser as Fuser
    from dafm_core.fusion.channels.fuser import ChannelFusion as ChannelFusion
    from dafm_core.fusion.debiased import DebiasedFusion as DebiasedFusion
    from dafm_core.fusion.light.fuser import LightFusion as LightFusion
    from dafm_core.fusion.logistic import LogisticFusion as LogisticFusion
    from dafm_core.fusion.paper import PaperFusion as PaperFusion
    from dafm_core.fusion.saving import load_fuser as load_fuser
    from dafm_core.fusion.saving import save_fuser as save_fuser
    from dafm_core.fusion.static import BestSingle as BestSingle
    from dafm_core.fusion.static import MarginFusion as MarginFusion
    from dafm_core.fusion.static import MaxFusion as MaxFusion
    from dafm_core.fusion.static import MeanFusion as MeanFusion
    from dafm_core.fusion.static import VotingFusion as VotingFusion
    from dafm_core.fusion.static import WeightedFusion as WeightedFusion
    from dafm_core.scoring.score import score as score
    from dafm_core.search.index import GalleryIndex as GalleryIndex
    from dafm_core.search.search import Search as Search
    from dafm_core.store.gallery import Gallery as Gallery
    from dafm_core.store.run import Run as Run
    from dafm_core.store.stack import SimilarityStack as SimilarityStack
    from dafm_core.store.store import SimilarityStore as SimilarityStore

    __version__: str

_HOMES = {
    "AsGiven": "evaluation.design",
    "BestSingle": "fusion.static",
    "ChannelFusion": "fusion.channels.fuser",
    "Comparison": "comparison.result",
    "DafmError": "errors",
    "Dataset": "datasets.base",
    "DebiasedFusion": "fusion.debiased",
    "EncodingProvider": "contract.provider",
    "PairProvider": "contract.provider",
    "Evaluation": "evaluation.evaluate",
    "Folds": "evaluation.design",
    "Fuser": "fusion.base",
    "Gallery": "store.gallery",
    "GalleryIndex": "search.index",
    "ImageRef": "contract.items",
    "LightFusion": "fusion.light.fuser",
    "LogisticFusion": "fusion.logistic",
    "MarginFusion": "fusion.static",
    "MaxFusion": "fusion.static",
    "MeanFusion": "fusion.static",
    "Option": "contract.descriptions",
    "Options": "contract.options",
    "PaperFusion": "fusion.paper",
    "PluginCatalog": "catalog",
    "ProviderInfo": "contract.descriptions",
    "Query": "contract.items",
    "Run": "store.run",
    "Search": "search.search",
    "SimilarityProvider": "contract.provider",
    "SimilarityStack": "store.stack",
    "SimilarityStore": "store.store",
    "Train": "evaluation.design",
    "VotingFusion": "fusion.static",
    "WeightedFusion": "fusion.static",
    "compare": "comparison.compare",
    "evaluate": "evaluation.evaluate",
    "evaluate_run": "evaluation.evaluate",
    "incremental": "comparison.incremental",
    "load_dataset": "catalog",
    "load_fuser": "fusion.saving",
    "option": "contract.options",
    "query_frame": "datasets.query_frame",
    "save_fuser": "fusion.saving",
    "score": "scoring.score",
}

__all__ = sorted(_HOMES)  # one list of names, not two


if not TYPE_CHECKING:  # to a type checker any name at all would be there

    def __getattr__(name: str) -> Any:
        """Import a public name from its home."""
        if name == "__version__":
            from importlib.metadata import version  # slow to import

            return version("dafm-core")
        if name not in _HOMES:
            raise AttributeError(f"module 'dafm_core' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"dafm_core.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
