"""Opens what ``fuse`` and ``submit`` need: a store's stack, and the fuser that fits it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.fusion.base import Fuser
    from dafm_core.store.stack import SimilarityStack


def open_model(
    store: Path, model: Path, bank: Path | None
) -> tuple[Fuser, SimilarityStack, Dataset]:
    """Return the fuser (with its bank), the store's stack and dataset; refuse what does not fit."""
    from dafm_core.errors import OptionError
    from dafm_core.fusion.light.fuser import LightFusion
    from dafm_core.fusion.saving import load_fuser
    from dafm_core.store.stack import SimilarityStack
    from dafm_core.store.store import SimilarityStore

    fuser = load_fuser(model)
    opened = SimilarityStore.open(store)
    names = [name for name in fuser.provider_names_ if name in opened.providers]
    stack = SimilarityStack.from_store(opened, names or None)
    if bank is not None:
        if not isinstance(fuser, LightFusion):
            raise OptionError(f"--bank: {model} is {type(fuser).__name__}, which has no bank.")
        fuser = fuser.with_bank(SimilarityStack.from_store(SimilarityStore.open(bank), names))
    return fuser, stack, opened.dataset
