"""Opens the fuser that ``--model`` means, and with it the stack of a store that it fits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.cli.arguments import open_bank
from dafm_core.errors import FuserError

if TYPE_CHECKING:
    from dafm_core.fusion.base import Fuser
    from dafm_core.store.stack import SimilarityStack


def open_model(
    store: Path, model: Path, bank: Path | None, *, verify: bool = True
) -> tuple[Fuser, SimilarityStack]:
    """Return the fuser (with its bank) and the store's stack; refuse what does not fit."""
    from dafm_core.store.store import SimilarityStore

    fuser = open_fuser(model)
    opened = SimilarityStore.open(store)
    fitted = fuser.record_.providers if fuser.is_fitted else ()
    names = [name for name in fitted if name in opened.providers]
    stack = opened.stack(names or None, verify=verify)
    other = open_bank(bank, store, providers=",".join(names) or None, verify=verify)
    return (fuser if other is None else fuser.with_bank(other)), stack


def open_fuser(model: Path) -> Fuser:
    """Return a saved fuser, or the one of that name, if it needs no fit."""
    from dafm_core.catalog import PluginCatalog
    from dafm_core.fusion.saving import load_fuser

    name = str(model)
    if model.exists() or name not in (catalog := PluginCatalog.discover()).fusers:
        return load_fuser(model)
    fuser = catalog.load_fuser(name)
    if not fuser.has_default:
        raise FuserError(
            f"{name}: expected a fuser that needs no fit, or the folder of a fitted one. "
            f"dafm train STORE --fuser {name} --out FOLDER fits it."
        )
    return fuser


def in_sample(fitted: frozenset[str], query_ids: Sequence[str]) -> str:
    """Return a warning where a fusion was fitted on some of the queries, else nothing."""
    n_seen = sum(query_id in fitted for query_id in query_ids)
    if not n_seen:
        return ""
    return f"in sample: the model was fitted on {n_seen} of these {len(query_ids)} queries"
