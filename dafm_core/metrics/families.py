"""The table of metrics: what each family computes, on which ranks, what tables call it and how a
legend defines it. A new metric is a function in :mod:`~dafm_core.metrics.functional` and an entry
here; names as users write them are read in :mod:`~dafm_core.metrics.spec`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import DatasetError
from dafm_core.metrics import functional
from dafm_core.metrics.functional import PerQuery
from dafm_core.metrics.ranking import Places, TargetRanks

Needs: TypeAlias = Literal["subset", "first", "negatives"]
"""What a metric looks at besides the ranks in the gallery."""

Head: TypeAlias = Literal["gallery", "subset"]
"""What a score ranks: the gallery, or the query's subset. CIRR asks for both."""
HEADS: Final[tuple[Head, ...]] = get_args(Head)


def _gallery(places: Places) -> TargetRanks:
    return places.gallery


def _first(places: Places) -> TargetRanks:
    return places.first


def _subset(places: Places) -> TargetRanks:
    if places.subset is None:
        raise DatasetError("metrics: a query has no subset to rank. Choose other metrics.")
    return places.subset


def _negatives(places: Places) -> TargetRanks:
    return _named(places.negatives)


def _unopposed(places: Places) -> TargetRanks:
    return _named(places.unopposed)


def _named(ranks: TargetRanks | None) -> TargetRanks:
    if ranks is None:
        raise DatasetError("metrics: no negatives are named. Choose other metrics.")
    return ranks


@dataclass(frozen=True, kw_only=True)
class Family:
    """One metric at any depth, or of the whole ranking.

    Parameters
    ----------
    label : str
        What tables print before the depth: ``R`` for ``recall@10``.
    definition : str
        A clause for a table's legend.
    compute : callable (TargetRanks, k=depth) -> ndarray of shape (n_queries,)
        Without ``k`` where the whole ranking is measured.
    undecided : callable of the same arguments -> ndarray of bool, shape (n_queries,)
        The queries whose value depends on candidates without a score.
    ranks : callable Places -> TargetRanks
        Which ranks are measured.
    needs : tuple of {"subset", "first", "negatives"}
        What has to be ranked for it besides the gallery.
    depths : tuple of int
        Those to suggest; any is valid. Empty where the whole ranking is measured.
    """

    label: str
    definition: str
    compute: Callable[..., PerQuery]
    undecided: Callable[..., NDArray[np.bool_]]
    ranks: Callable[[Places], TargetRanks] = _gallery
    needs: tuple[Needs, ...] = ()
    depths: tuple[int, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it measures the whole ranking, and takes no depth."""
        return not self.depths

    def measure(self, places: Places, **depth: int) -> PerQuery:
        """Return its value for every query, in [0, 1]; NaN where it is undecided."""
        ranks = self.ranks(places)
        return np.where(self.undecided(ranks, **depth), np.nan, self.compute(ranks, **depth))


_USUAL: Final = (1, 5, 10, 25, 50)

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "recall": Family(
            label="R",
            definition="R@K: share of queries with a target among the first K (of several targets, "
            "their share)",
            compute=functional.recall,
            undecided=functional.undecided_recall,
            depths=_USUAL,
        ),
        "hit": Family(
            label="Hit",
            definition="Hit@K: share of queries with any target among the first K",
            compute=functional.hit,
            undecided=functional.undecided_hit,
            depths=_USUAL,
        ),
        "map": Family(
            label="mAP",
            definition="mAP@K: mean average precision of the first K",
            compute=functional.average_precision,
            undecided=functional.undecided_average_precision,
            depths=_USUAL,
        ),
        "ndcg": Family(
            label="nDCG",
            definition="nDCG@K: discounted gain of the first K by the targets' grades",
            compute=functional.discounted_gain,
            undecided=functional.undecided_discounted_gain,
            depths=_USUAL,
        ),
        "first": Family(
            label="First",
            definition="First@K: share of queries with the first-named target among the first K",
            compute=functional.recall,
            undecided=functional.undecided_recall,
            ranks=_first,
            needs=("first",),
            depths=_USUAL,
        ),
        "rsubset": Family(
            label="Rs",
            definition="Rs@K: the same within the query's own few hard candidates",
            compute=functional.recall,
            undecided=functional.undecided_recall,
            ranks=_subset,
            needs=("subset",),
            depths=(1, 2, 3),
        ),
        "precision": Family(
            label="P",
            definition="P@K: share of the first K that are targets",
            compute=functional.precision,
            undecided=functional.undecided_recall,
            depths=(1, 5, 10, 50),
        ),
        "negrecall": Family(
            label="NegR",
            definition="NegR@K: share of the images named as wrong that are among the first K (of "
            "at most K; less is better)",
            compute=functional.capped_recall,
            undecided=functional.undecided_recall,
            ranks=_negatives,
            needs=("negatives",),
            depths=(1, 5, 10, 50),
        ),
        "map-noneg": Family(
            label="mAPnoNeg",
            definition="mAPnoNeg@K: mAP@K with the images named as wrong left out of the ranking",
            compute=functional.average_precision,
            undecided=functional.undecided_average_precision,
            ranks=_unopposed,
            needs=("negatives",),
            depths=(1, 5, 10, 50),
        ),
        "mrr": Family(
            label="MRR",
            definition="MRR: mean of one over the rank of the first target",
            compute=functional.reciprocal_rank,
            undecided=functional.undecided_reciprocal_rank,
        ),
        "map-trapezoid": Family(
            label="mAP",
            definition="mAP: area under the whole precision-recall curve, by trapezoids",
            compute=functional.trapezoid_precision,
            undecided=functional.undecided_trapezoid_precision,
        ),
    }
)
"""Every family by the name that a command line and a dataset use."""
