"""Opens what ``fuse`` and ``submit`` need: a store's stack, and the fuser that fits it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.cli.arguments import open_bank

if TYPE_CHECKING:
    from dafm_core.fusion.base import Fuser
    from dafm_core.store.stack import SimilarityStack


def open_model(
    store: Path, model: Path, bank: Path | None, *, verify: bool = True
) -> tuple[Fuser, SimilarityStack]:
    """Return the fuser (with its bank) and the store's stack; refuse what does not fit."""
    from dafm_core.fusion.saving import load_fuser
    from dafm_core.store.store import SimilarityStore

    fuser = load_fuser(model)
    opened = SimilarityStore.open(store)
    names = [name for name in fuser.record_.providers if name in opened.providers]
    stack = opened.stack(names or None, verify=verify)
    other = open_bank(bank, store, providers=",".join(names) or None, verify=verify)
    return (fuser if other is None else fuser.with_bank(other)), stack


def in_sample(fitted: frozenset[str], query_ids: Sequence[str]) -> str:
    """Return a warning where a fusion was fitted on some of the queries, else nothing."""
    n_seen = sum(query_id in fitted for query_id in query_ids)
    if not n_seen:
        return ""
    return f"in sample: the model was fitted on {n_seen} of these {len(query_ids)} queries"
