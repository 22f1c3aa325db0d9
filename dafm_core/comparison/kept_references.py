"""Whether reference images stay in the ranking, and whether the models put them first.

A composed query asks for another image than the one it shows. Where a protocol leaves the
reference in, most models rank it above every answer, and recall@1 is near zero whatever they know.
Some benchmarks are measured so; in a folder of one's own it is mostly an oversight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from dafm_core.store.stack import SimilarityStack

SAMPLED: Final = 200
"""Queries whose rows are looked at."""
OFTEN: Final = 0.2
"""Share of references in first place from which it is said what to do."""


@dataclass(frozen=True)
class KeptReferences:
    """How many reference images stay in the ranking of their query, and where models put them.

    Parameters
    ----------
    share : float
        Of the queries, those with a reference that is ranked and is no target.
    first : mapping of provider to float
        Of these, or a sample of them, the share in which nothing is scored above the reference.
    """

    share: float
    first: Mapping[str, float]

    def words(self, label: Callable[[str], str] = str) -> str:
        """Return the finding in one or two sentences; empty where no reference is ranked."""
        if not self.share:
            return ""
        name = max(self.first, key=self.first.__getitem__)
        words = (
            f"The reference image is ranked, too, in {100 * self.share:.0f} % of the queries; "
            f"{label(name)} puts it first in {100 * self.first[name]:.0f} % of them."
        )
        if self.first[name] < OFTEN:
            return words
        return words + (
            " If it is no answer, exclude it: --dataset-set reference=exclude, where the dataset "
            "has it."
        )


def kept_references(stack: SimilarityStack, *, seed: int = 0) -> KeptReferences:
    """Return what becomes of references that stay in the ranking; rows are sampled by the seed."""
    dataset = stack.dataset
    kept = dataset.columns("references").without(dataset.targets).without(dataset.removed)
    asked = np.flatnonzero(kept.counts > 0)
    if not len(asked):
        return KeptReferences(0.0, {})
    n_sampled = min(len(asked), SAMPLED)
    sample = np.sort(np.random.default_rng(seed).choice(asked, n_sampled, replace=False))
    is_first = []
    for row in sample.tolist():
        scores = stack.tile(row, row + 1)[0]  # (K, N)
        best = np.where(np.isnan(scores), -np.inf, scores).max(axis=1)
        is_first.append((scores[:, kept[row]] >= best[:, None]).any(axis=1))
    first = dict(zip(stack.names, np.mean(is_first, axis=0).tolist(), strict=True))
    return KeptReferences(len(asked) / dataset.n_queries, first)
