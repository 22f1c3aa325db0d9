"""Nested selection: options are chosen within the training queries, by cross-fitting there.

Wrapped like this, a fuser with options to choose is compared as honestly as one without: what it
is measured on has not been seen by the choice either.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.descriptions import Kind
from dafm_core.errors import FuserError, OptionError
from dafm_core.evaluation.crossfit import fit_and_evaluate
from dafm_core.evaluation.design import Folds
from dafm_core.fusion.base import Fuser, HeadScorer, Tile, TileScorer
from dafm_core.ground.progress import Progress
from dafm_core.metrics.families import Head
from dafm_core.store.gallery import Gallery
from dafm_core.store.stack import SimilarityStack

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

N_FOLDS = 3


class SelectedFusion(Fuser):
    """The best of several unfitted fusers, found and then fitted on the training queries.

    Parameters
    ----------
    candidates : mapping of str to Fuser
        What each is called, and copies of what is fitted; of one kind.
    folds : int
        Grouped folds of the training queries; fewer where there are fewer groups.
    objective : str, optional
        Metric to choose by; the mean of the protocol's metrics by default.
    seed : int
        Of the folds.

    Attributes
    ----------
    quality_ : dict of str to float
        What each candidate reached on the folds held out, in [0, 1].
    chosen_ : str
    best_ : Fuser
        Fitted on all training queries: what to save.
    """

    learns: ClassVar[bool] = True
    may_lack_providers: ClassVar[bool] = True  # the chosen fuser decides
    quality_: dict[str, float]
    chosen_: str
    best_: Fuser

    def __init__(
        self,
        *,
        candidates: Mapping[str, Fuser],
        folds: int = N_FOLDS,
        objective: str | None = None,
        seed: int = 0,
    ) -> None:
        if not candidates:
            raise OptionError("selection: expected at least one candidate, got none.")
        self.candidates = dict(candidates)
        self.folds = folds
        self.objective = objective
        self.seed = seed

    @property
    def kind(self) -> Kind:  # type: ignore[override]  # follows the candidates
        """Kind of the candidates."""
        return next(iter(self.candidates.values())).kind

    @property
    def deployed(self) -> Fuser:
        """The fuser that was chosen."""
        return self.best_.deployed

    @property
    def choice_(self) -> dict[str, Any]:
        """What was chosen, and what each candidate reached."""
        return {"chosen": self.chosen_, "quality": self.quality_}

    def _fit(
        self, stack: SimilarityStack, *, bank: SimilarityStack | None, progress: Progress | None
    ) -> None:
        labelled = stack.labelled()
        n_folds = min(self.folds, len(set(labelled.dataset.groups.tolist())))
        names = list(self.candidates)
        self.quality_ = {}
        if len(names) > 1 and n_folds > 1:
            self.quality_ = self._measure(labelled, bank, n_folds)
            self.chosen_ = max(names, key=self.quality_.__getitem__)
        else:
            self.chosen_ = names[0]
            logger.warning("selection: nothing to choose by; %s it is.", self.chosen_)
        best = self.candidates[self.chosen_].clone()
        self.best_ = best.fit(stack, bank=bank, progress=progress)
        if self.quality_:  # targets were used to choose, whatever the one chosen does with them
            seen = self.best_.record_.query_ids.union(labelled.query_ids)
            self.best_.record_ = replace(self.best_.record_, query_ids=seen)

    def _measure(
        self, stack: SimilarityStack, bank: SimilarityStack | None, n_folds: int
    ) -> dict[str, float]:
        parts = Folds(n_folds, self.seed).parts(stack)
        metrics = [self.objective] if self.objective else None
        quality = {}
        for name, candidate in self.candidates.items():
            found = fit_and_evaluate(candidate, stack, parts, metrics=metrics, bank=bank)[0]
            quality[name] = float(np.nan_to_num(found.mean_per_query).mean())  # undecided: no merit
        return quality

    @property
    def heads(self) -> tuple[Head, ...]:
        """Those of the chosen fuser."""
        return self.best_.heads if self.is_fitted else ("gallery",)

    def unranked(self, tile: Tile, gallery: Gallery) -> NDArray[np.bool_]:
        """Return what the chosen fuser says nothing of."""
        return self.best_.unranked(tile, gallery)

    def _scorer(self, gallery: Gallery) -> TileScorer:
        return self.best_.scorer(gallery)

    def _head_scorer(self, gallery: Gallery, heads: Sequence[Head]) -> HeadScorer:
        return self.best_.head_scorer(gallery, heads)

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Refuse: what is saved is ``best_``."""
        raise FuserError("selection: save best_, the fuser that was chosen.")


def candidates(
    make: Callable[[dict[str, str]], Fuser],
    fixed: Mapping[str, str],
    varied: Mapping[str, Sequence[str]],
) -> dict[str, Fuser]:
    """Return a fuser for every combination of the varied options, under its ``key=value`` pairs.

    Parameters
    ----------
    make : callable
        From options as text to an unfitted fuser.
    fixed : mapping of str to str
    varied : mapping of str to sequence of str
        Values to try of each option.
    """
    both = fixed.keys() & varied.keys()
    if both:
        raise OptionError(f"selection: {min(both)!r} is both set and tuned. Leave one out.")
    made = {}
    for values in product(*varied.values()):
        chosen = dict(zip(varied, values, strict=True))
        made[", ".join(f"{k}={v}" for k, v in chosen.items())] = make({**fixed, **chosen})
    return made
