"""A run: the fused scores of some queries against a gallery, by ids."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.ids import Ids


@dataclass(frozen=True, eq=False)
class Run:
    """A named result: one fused score per query and candidate.

    Parameters
    ----------
    name : str
    query_ids, gallery_ids : Ids
        Made of any sequence of ids.
    scores : ndarray of shape (n_queries, n_gallery), float32
        Higher is better; -inf where the candidate is excluded for the query.
    fitted_query_ids : frozenset of str
        Queries whose targets the fuser was fitted on: their rows are not held out.
    unknown : ndarray of shape (n_queries, n_gallery), bool, or None
        Candidates that the scores say nothing of; None where there are none.
    subset_scores : ndarray of shape (n_queries, n_gallery), float32, or None
        What ranks each query's subset, where the fuser has a head for it; None where ``scores`` do.
    anywhere : bool
        Whether those may stand above the others; else they are below them.
    """

    name: str
    query_ids: Ids
    gallery_ids: Ids
    scores: NDArray[np.float32] = field(repr=False)
    fitted_query_ids: frozenset[str] = field(default=frozenset(), repr=False)
    unknown: NDArray[np.bool_] | None = field(default=None, repr=False)
    subset_scores: NDArray[np.float32] | None = field(default=None, repr=False)
    anywhere: bool = False

    def __repr__(self) -> str:
        return (
            f"<Run {self.name!r}: {len(self.query_ids)} queries x {len(self.gallery_ids)} images>"
        )

    def __post_init__(self) -> None:
        for name in ("query_ids", "gallery_ids"):
            ids = getattr(self, name)
            if not isinstance(ids, Ids):
                object.__setattr__(self, name, Ids(ids))
