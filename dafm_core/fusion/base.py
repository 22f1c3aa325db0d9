"""What a fuser is: scikit-learn manners over a stack of similarities.

The concrete rules live beside this file; constructor arguments by name, in ``parameters.py``; what
a fit remembers, in ``record.py``; saving and loading in ``saving.py``.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.descriptions import Kind
from dafm_core.errors import FuserError, OptionError, expect
from dafm_core.fusion.best import Best, BestScorer
from dafm_core.fusion.completing import completed, completing, unknown_to_all
from dafm_core.fusion.parameters import Parameters
from dafm_core.fusion.record import FitRecord
from dafm_core.fusion.tiles import HeadScorer, Scores, Tile, TileScorer, usable_tile
from dafm_core.ground.ordering import tie_places
from dafm_core.ground.progress import Progress
from dafm_core.ground.quick_rows import load_for
from dafm_core.ground.threads import one_blas_thread
from dafm_core.metrics.families import Head
from dafm_core.store.gallery import Gallery
from dafm_core.store.run import Run
from dafm_core.store.stack import STACK, SimilarityStack

if TYPE_CHECKING:
    from dafm_core.fusion.static.tuning import TunedRule

__all__ = ["Fuser", "HeadScorer", "Scores", "Tile", "TileScorer"]

logger = logging.getLogger(__name__)


class Fuser(Parameters, ABC):
    """Base of all fusers: the constructor stores, ``fit`` learns, ``fuse`` scores.

    A subclass implements ``_scorer``, ``_fit`` where it learns anything, and ``get_state`` and
    ``set_state`` where it has learned anything that is to be saved. Constructor arguments are
    keyword-only, of JSON types, and stored under their own names (or ``params`` says otherwise).

    Attributes
    ----------
    record_ : FitRecord
        What ``fit`` saw; missing before it.
    """

    kind: ClassVar[Kind] = "static"
    learns: ClassVar[bool] = False
    """Whether ``fit`` uses targets."""
    may_lack_providers: ClassVar[bool] = False
    """Whether it fuses a gallery that lacks some of the providers it was fitted on."""
    complexity: ClassVar[int] = 2
    """How much a learned fuser is: 1 linear weights, 2 trees or one network, 3 several networks.
    Of fusers that are tied the simpler is deployed.
    """
    has_default: ClassVar[bool] = False
    """Whether it can be used before ``fit``."""
    reads_unknown: ClassVar[bool] = False
    """Whether its tiles are NaN where a provider was not asked about a candidate."""
    gallery_order_matters: ClassVar[bool] = False
    """Whether scores depend on the order in which the gallery is written."""

    record_: FitRecord

    @property
    def is_fitted(self) -> bool:
        """Whether ``fit`` was called, or a saved fit was loaded."""
        return hasattr(self, "record_")

    def fit(
        self,
        stack: SimilarityStack,
        *,
        bank: SimilarityStack | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from the queries of a stack; a fit that fails leaves the fuser unfitted.

        Parameters
        ----------
        stack : SimilarityStack of K providers
            Training queries, with targets where the fuser learns from them.
        bank : SimilarityStack, optional
            Unlabelled queries, none of them in training or evaluation, that a fuser with a query
            bank makes it of; by default it takes the training queries.
        progress : callable, optional
            Called as ``progress(what, done, total)`` by fusers that take their time.

        Raises
        ------
        FuserError
            If there is nothing to learn from.
        AlignmentError, LeakageError
            If the bank does not belong to the stack, or shares a query with it.
        """
        expect(stack, SimilarityStack, where=f"{self.name}.fit", hint=STACK)
        if bank is not None:
            expect(bank, SimilarityStack, where=f"{self.name}.fit: bank", hint=STACK)
        if self.learns and not stack.dataset.targets.counts.any():
            raise FuserError(
                f"{self.name}.fit: no training query has a target in the gallery. "
                "Train on a split with targets."
            )
        load_for(stack.n_cells)
        record = FitRecord.of(stack, labelled=self.learns, bank=bank)
        if bank is not None:
            record.check(bank.gallery, who=f"{self.name}: bank", may_lack=True)
        whole_bank = None if bank is None else completed(bank, lists_only=self.reads_unknown)
        whole = completed(stack, lists_only=self.reads_unknown)
        self.record_ = record
        try:
            with one_blas_thread():
                self._fit(whole, bank=whole_bank, progress=progress)
        except BaseException:
            del self.record_  # what was learned may be half of it: better unfitted than wrong
            raise
        return self

    def fuse(self, stack: SimilarityStack, *, name: str | None = None) -> Run:
        """Return fused scores of every query in the stack.

        Raises
        ------
        FuserError
            Before ``fit``.
        AlignmentError
            If the stack has other providers than those fitted on, or other models behind them.
        LeakageError
            If the bank holds a query of the stack.
        """
        expect(stack, SimilarityStack, where=f"{self.name}.fuse", hint=STACK)
        heads = self.heads if stack.dataset.has_subsets else ("gallery",)
        score = self.head_scorer(stack, heads)
        shape = stack.n_queries, stack.n_gallery
        scores = {head: np.empty(shape, np.float32) for head in heads}
        unknown = np.zeros(shape, bool) if stack.gallery.unknown else None
        for rows, tile in stack.tiles():
            for head, fused in score(tile).items():
                scores[head][rows] = fused
            if unknown is not None:
                unknown[rows] = self.unranked(tile, stack.gallery)
        return Run(
            name or self.name,
            stack.query_ids,
            stack.gallery_ids,
            scores["gallery"],
            self.fitted_ids(stack),
            subset_scores=scores.get("subset"),
            unknown=unknown if unknown is not None and unknown.any() else None,
            anywhere=stack.gallery.only_asked,
        )

    def fitted_ids(self, target: Gallery | SimilarityStack) -> frozenset[str]:
        """Return the queries whose targets a ranking here depends on: by the fit, or by a provider
        that is itself a fusion; of a stack, those of its own queries that the fit has seen.
        """
        own = self.record_.query_ids if self.is_fitted else frozenset()
        if isinstance(target, Gallery):
            return own | target.fitted_query_ids
        own = self.record_.seen_of(target.dataset) if self.is_fitted else own
        return own | target.gallery.fitted_query_ids

    @property
    def heads(self) -> tuple[Head, ...]:
        """The rankings that have a score of their own; with one, its score ranks subsets too."""
        return ("gallery",)

    def scorer(self, target: Gallery | SimilarityStack, *, head: Head = "gallery") -> TileScorer:
        """Return the function that fuses tiles of a gallery, or of a stack's queries.

        What depends on the gallery is made ready here, once; a live query needs no more than a
        tile of one row, in the order of the gallery's providers and candidates. Errors as
        :meth:`fuse`.

        Parameters
        ----------
        target : Gallery or SimilarityStack
        head : {"gallery", "subset"}
            What the scores are to rank; a fuser with one head has the same scores for both.
        """
        score = self.head_scorer(target, (head,))
        gallery = target.gallery if isinstance(target, SimilarityStack) else target
        shape = gallery.n_providers, gallery.n_candidates
        return lambda tile: score(usable_tile(tile, shape, self.name))[head]

    def head_scorer(self, target: Gallery | SimilarityStack, heads: Sequence[Head]) -> HeadScorer:
        """Return the function that fuses a tile for several heads at once, as :meth:`scorer`."""
        return self._whole_scorer(self._checked(target), heads)

    def best(
        self, stack: SimilarityStack, k: int = 50, *, head: Head = "gallery", exact: bool = False
    ) -> Best:
        """Return the best candidates of every query in the stack; see :meth:`best_scorer`."""
        score = self.best_scorer(stack, k, head=head, exact=exact)
        return Best.concatenate([score(tile) for _, tile in stack.tiles()])

    def best_scorer(
        self,
        target: Gallery | SimilarityStack,
        k: int = 50,
        *,
        head: Head = "gallery",
        exact: bool = False,
    ) -> BestScorer:
        """Return the function that gives each row's best candidates: what a list needs, faster.

        A fusion over channels makes them only of candidates that some provider puts first, unless
        it ranks subsets, or a provider gives shortlists; all others fuse whole rows. Errors as
        :meth:`fuse`.

        Parameters
        ----------
        target : Gallery or SimilarityStack
        k : int, >= 1
            Candidates in a list; no more than there are in the gallery.
        head : {"gallery", "subset"}
        exact : bool
            Whether to fuse whole rows in any case. What is lost otherwise is measured in
            docs/explanation/performance.md.
        """
        if k < 1:
            raise OptionError(f"{self.name}.best: expected k of at least 1, got {k}. Ask for one.")
        gallery = self._checked(target)
        k = min(k, gallery.n_candidates)
        if not (exact or gallery.unknown or head == "subset"):
            n_rows = target.n_queries if isinstance(target, SimilarityStack) else None
            if (score_best := self._best_scorer(gallery, k, n_rows)) is not None:
                return score_best
        score, places = self._whole_scorer(gallery, (head,)), tie_places(gallery.ids)
        return lambda tile: Best.of_scores(score(tile)[head], places, k)

    def _checked(self, target: Gallery | SimilarityStack) -> Gallery:
        """Return the gallery to fuse, if it can be."""
        expect(target, (Gallery, SimilarityStack), where=self.name)
        gallery = target.gallery if isinstance(target, SimilarityStack) else target
        if isinstance(target, SimilarityStack):
            load_for(target.n_cells)
        if not self.is_fitted:
            if self.has_default:
                return gallery
            raise FuserError(f"{self.name} is not fitted. Call fit(stack) first.")
        queries = target.query_ids if isinstance(target, SimilarityStack) else ()
        lacking = self.record_.check(
            gallery, queries, who=self.name, may_lack=self.may_lack_providers
        )
        if lacking:
            logger.warning(
                "%s: fusing without %s, which it was fitted on. Score the missing providers for "
                "the best ranking.",
                *(self.name, ", ".join(lacking)),
            )
        return gallery

    def unranked(self, tile: Tile, gallery: Gallery) -> NDArray[np.bool_]:
        """Return which candidates the fused scores say nothing of, (B, N): no provider knows them.

        They tie right below all others.

        Parameters
        ----------
        tile : ndarray of shape (B, K, N), float32
            As the stack has it: NaN where a provider's shortlist leaves a candidate out.
        """
        return unknown_to_all(tile)

    def _whole_scorer(self, gallery: Gallery, heads: Sequence[Head]) -> HeadScorer:
        """Return a scorer that completes shortlists first."""
        score = self._head_scorer(gallery, heads)
        return completing(score, gallery, lists_only=self.reads_unknown)

    def _head_scorer(self, gallery: Gallery, heads: Sequence[Head]) -> HeadScorer:
        """Return the function that scores for every head; here one score serves them all."""
        score = self._scorer(gallery)

        def score_once(tile: Tile) -> Mapping[Head, Scores]:
            return dict.fromkeys(heads, score(tile))

        return score_once

    def _best_scorer(self, gallery: Gallery, k: int, n_rows: int | None) -> BestScorer | None:
        """Return a faster way to the best candidates of the gallery, or None where there is none.

        ``n_rows`` is how many queries there will be; None where nobody knows.
        """
        return None

    @property
    def history_(self) -> list[list[dict[str, float]]]:
        """What was recorded while fitting: for each network, numbers by name at each step."""
        return []

    @property
    def deployed(self) -> Fuser:
        """What to save and use: the fuser itself, or the one it has chosen."""
        return self

    @property
    def choice_(self) -> dict[str, Any] | None:
        """What was chosen among several fusers, as JSON values; None where nothing was."""
        return None

    def as_rule(self) -> TunedRule[Any] | None:
        """Return the fuser as a rule with finitely many settings, or None where it is none."""
        return None

    def row_weights(self, gallery: Gallery) -> NDArray[np.float64] | None:
        """Return weights (K,) with which row-standardised scores add up to the fused score.

        None where the fusion is anything else than that sum.
        """
        return None

    def with_bank(self, bank: SimilarityStack) -> Self:
        """Return this fusion with another query bank, which a new gallery needs.

        Raises
        ------
        OptionError
            If the fuser has no bank.
        """
        raise OptionError(f"{self.name}: has no query bank. Leave the bank out.")

    def __repr__(self) -> str:
        """Return the arguments that are no defaults, and what it is fitted on."""
        text = super().__repr__()
        if not self.is_fitted:
            return text
        record = self.record_
        return f"<{text} fitted on {record.protocol}: {', '.join(record.providers)}>"

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return what ``fit`` learned: arrays by name, and JSON values by name."""
        return {}, {}

    def set_state(  # may have learned nothing
        self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]
    ) -> None:
        """Restore what ``get_state`` returned."""

    def _fit(  # may learn nothing
        self, stack: SimilarityStack, *, bank: SimilarityStack | None, progress: Progress | None
    ) -> None:
        """Learn from a stack; the record is there already."""

    @abstractmethod
    def _scorer(self, gallery: Gallery) -> TileScorer:
        """Return the function that fuses tiles of a gallery that has been checked."""
