"""Which candidates a pair provider is asked about: made by providers that are scored already.

Shortlists of a file are read in ``formats/``; pairs are scored in ``pairs.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import OptionError, closest
from dafm_core.ground.ids import Ids, hash_strings
from dafm_core.ground.ordering import best_ranked, tie_places
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore

EXPECTED = "expected union:N, provider:NAME:N or run:FILE"


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """The candidates of each query that are asked about.

    Parameters
    ----------
    columns : tuple of ndarray of int64
        Gallery columns of each query, best first.
    facts : mapping
        Where they come from, for the passport.
    """

    columns: tuple[NDArray[np.int64], ...] = field(repr=False)
    facts: Mapping[str, Any]

    def described(self, gallery_ids: Ids) -> dict[str, Any]:
        """Return the facts with a hash of the very candidates."""
        lists = ["\0".join(gallery_ids[c] for c in np.sort(row)) for row in self.columns]
        return {**self.facts, "sha256": hash_strings(lists)}


def shortlist_of(store: SimilarityStore, spec: str, *, name: str) -> Candidates:
    """Return the candidates that ``union:N`` or ``provider:NAME:N`` stands for.

    ``provider:NAME:N`` are the first N of one provider. ``union:N`` are N candidates as well: the
    providers of the store take turns, each adding the best that is not there yet. So N is what is
    paid for, whatever the number of providers.

    Parameters
    ----------
    store : SimilarityStore
    spec : str
    name : str
        The provider to be scored; it makes no shortlist for itself, nor do other pair providers
        for a union.

    Raises
    ------
    OptionError
        For a spec that cannot be read, a provider that is not scored (with the closest match), or
        a store without providers.
    """
    kind, _, rest = spec.partition(":")
    provider, colon, depth = rest.rpartition(":") if kind == "provider" else ("", ":", rest)
    if kind not in ("union", "provider") or not colon or not depth.isdecimal() or int(depth) < 1:
        raise OptionError(f"--shortlist: {EXPECTED}, got {spec!r}.")
    scored = [other for other in store.providers if other != name]
    if kind == "provider":
        if provider not in scored:
            raise OptionError(
                f"--shortlist: provider {provider!r} is not scored in {store.path}"
                f"{closest(provider, scored)} Score it first."
            )
        names = [provider]
    else:
        names = [n for n in scored if store.passport(n).get("unknown") != "not-asked"]
        if not names:
            raise OptionError(
                f"--shortlist: {store.path} holds no provider to take candidates from. Score one "
                "first."
            )
    columns = tuple(_best_of_all(store.stack(names), int(depth)))
    return Candidates(
        columns=columns, facts={"from": kind, "providers": sorted(names), "depth": int(depth)}
    )


def _best_of_all(stack: SimilarityStack, depth: int) -> Iterator[NDArray[np.int64]]:
    """Yield each query's candidates: the providers take turns until there are ``depth``."""
    places = tie_places(stack.gallery_ids)
    for _, tile in stack.tiles():
        for rows in np.where(np.isnan(tile), np.float32(-np.inf), tile):
            rankings = [best_ranked(row, places, depth).tolist() for row in rows]
            yield np.array(list(islice(_in_turns(rankings), depth)), np.int64)


def _in_turns(rankings: Iterable[list[int]]) -> Iterator[int]:
    """Yield the first of every ranking, then the second, each candidate once."""
    seen: set[int] = set()
    for turn in zip_longest(*rankings):
        for candidate in turn:
            if candidate is not None and candidate not in seen:
                seen.add(candidate)
                yield candidate
