"""The three hooks a plugin may implement. Each returns light descriptions; nothing heavy is
imported to list them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from dafm_core.contract.descriptions import DatasetInfo, FuserInfo, ProviderInfo

PROJECT = "dafm"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def dafm_similarity_providers() -> list[ProviderInfo]:  # type: ignore[empty-body]
    """Describe frozen CIR models that score queries against a gallery."""


@hookspec
def dafm_fusers() -> list[FuserInfo]:  # type: ignore[empty-body]
    """Describe ways to fuse a stack of similarities into one run."""


@hookspec
def dafm_datasets() -> list[DatasetInfo]:  # type: ignore[empty-body]
    """Describe datasets that ``NAME:PATH`` on the command line can open."""
