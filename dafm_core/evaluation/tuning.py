"""Nested selection: options are chosen within the training queries, by cross-fitting there.

Wrapped like this, a fuser with options to choose is compared as honestly as one without: what it
is measured on has not been seen by the choice either.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from dafm_core.errors import FuserError, OptionError
from dafm_core.evaluation.crossfit import clone, fit_and_evaluate, fold_splits
from dafm_core.fusion.base import Fuser, Kind, TileScorer
from dafm_core.fusion.static.tuning import labelled_part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dafm_core.datasets.base import Dataset
    from dafm_core.store.stack import SimilarityStack

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

    def _fit(self, stack: SimilarityStack, dataset: Dataset) -> None:
        labelled = labelled_part(dataset)
        n_folds = min(self.folds, len(set(labelled.groups.tolist())))
        names = list(self.candidates)
        self.quality_ = {}
        if len(names) > 1 and n_folds > 1:
            self.quality_ = self._measure(stack, labelled, n_folds)
            self.chosen_ = max(names, key=self.quality_.__getitem__)
        else:
            self.chosen_ = names[0]
            logger.warning("selection: nothing to choose by; %s it is.", self.chosen_)
        self.best_ = self._copy(self.chosen_).fit(stack, dataset)

    def _measure(self, stack: SimilarityStack, dataset: Dataset, n_folds: int) -> dict[str, float]:
        splits = fold_splits(dataset, n_folds, seed=self.seed)
        metrics = [self.objective] if self.objective else None
        quality = {}
        for name in self.candidates:
            found = fit_and_evaluate(
                self._copy(name), [stack], dataset, splits, train_stack=stack, metrics=metrics
            )
            quality[name] = float(found[0].per_query.mean())
        return quality

    def _copy(self, name: str) -> Fuser:
        copy = clone(self.candidates[name])
        copy.bank_queries = self.bank_queries
        return copy

    def checked_scorer(self, stack: SimilarityStack) -> TileScorer:
        """Return the chosen fuser's scorer, as it checks it."""
        if not hasattr(self, "best_"):
            raise FuserError("SelectedFusion is not fitted. Call fit(stack, dataset) first.")
        return self.best_.checked_scorer(stack)

    def scorer(self, stack: SimilarityStack) -> TileScorer:
        """Return the chosen fuser's scorer."""
        return self.best_.scorer(stack)

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
