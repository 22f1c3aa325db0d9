"""Where the targets stand in the rows of each provider of a stack, alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from dafm_core.ground.quick_rows import WORTH_LOADING, load_for
from dafm_core.metrics.ranking import Places, TargetRanks, rank_targets
from dafm_core.store.rows import TILE_BYTES

COUNTED: Final = 1 << 21
"""Scores, as they are stored, among which targets are counted at a time."""

if TYPE_CHECKING:
    from dafm_core.metrics.truth import Truth
    from dafm_core.store.stack import SimilarityStack


def places_of_singles(stack: SimilarityStack) -> dict[str, Places]:
    """Return where every target stands in each provider's own rows, by name.

    Raises
    ------
    DatasetError
        If a query has no target.
    """
    load_for(stack.n_cells)
    with ThreadPoolExecutor(1 if stack.n_cells < WORTH_LOADING else None) as threads:
        found = threads.map(
            partial(_places_of_provider, stack, stack.truth), range(len(stack.names))
        )
        places = dict(zip(stack.names, found, strict=True))
    for name in places.keys() & stack.subset_lists.keys():
        places[name] = replace(places[name], subset=_own_subset_places(stack, name))
    return places


def _places_of_provider(stack: SimilarityStack, truth: Truth, k: int) -> Places:
    """Return where every target stands in the rows of the provider at position k."""
    kind, tiles = stack.gallery.unknown.get(stack.names[k]), []
    size = max(1, COUNTED // stack.n_gallery)
    for start in range(0, stack.n_queries, size):
        rows = slice(start, min(start + size, stack.n_queries))
        scores, own = stack.stored(k, rows), truth.part(rows)
        if kind is None:
            tiles.append(own.places(scores))
        else:
            anywhere = kind == "not-asked"
            tiles.append(own.places(scores, unknown=np.isnan(scores), anywhere=anywhere))
    return Places.concatenate(tiles)


def _own_subset_places(stack: SimilarityStack, name: str) -> TargetRanks | None:
    """Return where the targets stand in a provider's own ranking of the subsets."""
    if not stack.truth.subsets.counts.all():
        return None
    tiles = []
    size = max(1, TILE_BYTES // (8 * stack.n_gallery))
    for start in range(0, stack.n_queries, size):
        rows = slice(start, min(start + size, stack.n_queries))
        listed = stack.subset_lists[name][stack.rows[rows]][:, stack.columns].astype(np.float64)
        truth = stack.truth.part(rows)
        tiles.append(
            rank_targets(
                listed,
                truth.targets,
                within=truth.subsets,
                n_targets=truth.n_targets,
                unknown=np.isnan(listed),
            )
        )
    return TargetRanks.concatenate(tiles)
