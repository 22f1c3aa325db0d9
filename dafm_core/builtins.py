"""Core's own datasets, fusers and providers, registered through the same hooks as any plugin."""

from __future__ import annotations

from dafm_core.descriptions import DatasetInfo, FuserInfo, ProviderInfo
from dafm_core.hookspecs import hookimpl


@hookimpl
def dafm_similarity_providers() -> list[ProviderInfo]:
    """Return the frozen providers of the embedded dataset."""
    from dafm_core.providers import BUILTIN_PROVIDERS

    return list(BUILTIN_PROVIDERS)


@hookimpl
def dafm_fusers() -> list[FuserInfo]:
    """Return static rules, logistic stacking and LightFusion."""
    from dafm_core.fusion.registry import FUSERS

    return list(FUSERS)


@hookimpl
def dafm_datasets() -> list[DatasetInfo]:
    """Return the readers of published benchmarks, of a team's own folder, and of scenes."""
    from dafm_core.datasets.registry import DATASETS

    return list(DATASETS)
