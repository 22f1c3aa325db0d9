"""What a fuser is: scikit-learn manners over a stack of similarities, and what a fit remembers.

The concrete rules live beside this file; saving and loading in ``saving.py``.
"""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.descriptions import Kind
from dafm_core.errors import AlignmentError, FuserError, LeakageError, OptionError
from dafm_core.fusion.completing import complete, completed, unknown_to_all
from dafm_core.metrics.ranking import below_all
from dafm_core.store.gallery import Gallery
from dafm_core.store.run import Run
from dafm_core.store.stack import SimilarityStack

if TYPE_CHECKING:
    from dafm_core.fusion.static.tuning import TunedRule

logger = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""

Tile: TypeAlias = NDArray[np.float32]
"""Raw scores of a few queries, ``(B, K, N)``; excluded cells are -inf, all others finite."""

Scores: TypeAlias = NDArray[np.float32]
"""Fused scores of a few queries, ``(B, N)``; excluded cells are -inf."""

TileScorer: TypeAlias = Callable[[Tile], Scores]
"""Fuses a tile ``(B, K, N) -> (B, N)``; excluded cells stay -inf; rows do not see each other."""

PASSPORT_FIELDS = ("fingerprint", "options")
"""What a fuser remembers of a provider's passport."""


@dataclass(frozen=True, kw_only=True)
class FitRecord:
    """What a fuser must remember of the stack it was fitted on.

    Parameters
    ----------
    providers : tuple of str
        Names, sorted.
    passports : mapping of str to mapping
        Fingerprint and options of each provider.
    protocol : str
    query_ids : frozenset of str
        Queries whose targets the fit used, that are in the bank it made, or that were those of a
        provider which is a fusion itself; empty for rules that learn nothing.
    bank_ids : frozenset of str
        Unlabelled queries of a bank that was given; they are never fused.
    """

    providers: tuple[str, ...]
    passports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    protocol: str
    query_ids: frozenset[str] = field(default=frozenset(), repr=False)
    bank_ids: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(
        cls, stack: SimilarityStack, *, labelled: bool, bank: SimilarityStack | None
    ) -> FitRecord:
        """Return the record of a fit on a stack, perhaps with a bank of other queries."""
        return cls(
            providers=stack.names,
            passports={
                name: {key: passport[key] for key in PASSPORT_FIELDS if key in passport}
                for name, passport in stack.gallery.passports.items()
            },
            protocol=stack.protocol,
            query_ids=frozenset(stack.query_ids if labelled else ())
            | stack.gallery.fitted_query_ids,
            bank_ids=frozenset(bank.query_ids if bank is not None else ()),
        )

    def check(
        self,
        gallery: Gallery,
        query_ids: Collection[str] = (),
        *,
        who: str,
        may_lack: bool = False,
    ) -> tuple[str, ...]:
        """Check that a gallery, and queries against it, are what the fit was for.

        Parameters
        ----------
        gallery : Gallery
        query_ids : collection of str
            Queries to fuse, where they are known.
        who : str
            Start of every message: the fuser.
        may_lack : bool
            Whether the fuser can do without some of its providers.

        Returns
        -------
        tuple of str
            The providers it was fitted on that the gallery lacks.

        Raises
        ------
        AlignmentError
            For other providers, or other models behind them.
        LeakageError
            If the bank holds one of the queries.
        """
        lacking = tuple(name for name in self.providers if name not in gallery.names)
        if not set(gallery.names) <= set(self.providers) or (lacking and not may_lack):
            raise AlignmentError(
                f"{who}: expected providers {', '.join(self.providers)}, got "
                f"{', '.join(gallery.names)}. Score the missing ones, or train on these."
            )
        for name in gallery.names:
            fitted = self.passports.get(name, {}).get("fingerprint", {})
            scored = gallery.passports.get(name, {}).get("fingerprint", {})
            for key in sorted(fitted.keys() & scored.keys()):
                if fitted[key] != scored[key]:
                    raise AlignmentError(
                        f"{who}: provider {name!r}: expected {key} {fitted[key]!r}, as it was "
                        f"fitted on, got {scored[key]!r}. Score with the same model, or train "
                        "again."
                    )
        shared = self.bank_ids.intersection(query_ids)
        if shared:
            raise LeakageError(
                f"{who}: the bank holds {len(shared)} of the queries to fuse, e.g. "
                f"{min(shared)!r}. Give a bank of other queries."
            )
        return lacking

    def refuse(self, query_ids: Iterable[str], *, who: str) -> None:
        """Raise LeakageError if the fit used the targets of any of these queries."""
        refuse_fitted(self.query_ids, query_ids, who=who)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; ids sorted."""
        return {
            "providers": list(self.providers),
            "passports": {name: dict(passport) for name, passport in self.passports.items()},
            "protocol": self.protocol,
            "query_ids": sorted(self.query_ids),
            "bank_ids": sorted(self.bank_ids),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FitRecord:
        """Return the record that :meth:`to_json` wrote."""
        return cls(
            providers=tuple(values["providers"]),
            passports=dict(values["passports"]),
            protocol=values["protocol"],
            query_ids=frozenset(values["query_ids"]),
            bank_ids=frozenset(values["bank_ids"]),
        )


def refuse_fitted(fitted: frozenset[str], query_ids: Iterable[str], *, who: str) -> None:
    """Raise LeakageError if any of the queries is among those that something was fitted on."""
    asked = list(query_ids)
    seen = [query_id for query_id in asked if query_id in fitted]
    if seen:
        raise LeakageError(
            f"{who}: expected queries it was not fitted on, got {len(seen)} of {len(asked)} that "
            f"it was, e.g. {seen[0]!r}. Hold queries out, or use folds."
        )


class Fuser(ABC):
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
        if self.learns and not stack.dataset.targets.counts.any():
            raise FuserError(
                f"{self.name}.fit: no training query has a target in the gallery. "
                "Train on a split with targets."
            )
        record = FitRecord.of(stack, labelled=self.learns, bank=bank)
        if bank is not None:
            record.check(bank.gallery, who=f"{self.name}: bank", may_lack=True)
        whole_bank = None if bank is None else completed(bank, lists_only=self.reads_unknown)
        whole = completed(stack, lists_only=self.reads_unknown)
        self.record_ = record
        try:
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
        score = self.scorer(stack)
        scores = np.empty((stack.n_queries, stack.n_gallery), np.float32)
        unknown = np.zeros(scores.shape, bool) if stack.gallery.unknown else None
        for rows, tile in stack.tiles():
            scores[rows] = score(tile)
            if unknown is not None:
                unknown[rows] = self.unranked(tile, stack.gallery)
        return Run(
            name or self.name,
            stack.query_ids,
            stack.gallery_ids,
            scores,
            self.fitted_ids(stack),
            unknown=unknown if unknown is not None and unknown.any() else None,
            anywhere=stack.gallery.only_asked,
        )

    def fitted_ids(self, target: Gallery | SimilarityStack) -> frozenset[str]:
        """Return the queries whose targets a ranking here depends on: by the fit, or by a provider
        that is itself a fusion.
        """
        gallery = target.gallery if isinstance(target, SimilarityStack) else target
        own = self.record_.query_ids if self.is_fitted else frozenset()
        return own | gallery.fitted_query_ids

    def scorer(self, target: Gallery | SimilarityStack) -> TileScorer:
        """Return the function that fuses tiles of a gallery, or of a stack's queries.

        What depends on the gallery is made ready here, once; a live query needs no more than a
        tile of one row, in the order of the gallery's providers and candidates. Errors as
        :meth:`fuse`.
        """
        gallery = target.gallery if isinstance(target, SimilarityStack) else target
        if not self.is_fitted:
            if self.has_default:
                return self._whole_scorer(gallery)
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
        return self._whole_scorer(gallery)

    def unranked(self, tile: Tile, gallery: Gallery) -> NDArray[np.bool_]:
        """Return which candidates the fused scores say nothing of, (B, N): no provider knows them.

        They tie right below all others.

        Parameters
        ----------
        tile : ndarray of shape (B, K, N), float32
            As the stack has it: NaN where a provider's shortlist leaves a candidate out.
        """
        return unknown_to_all(tile)

    def _whole_scorer(self, gallery: Gallery) -> TileScorer:
        """Return a scorer that completes shortlists first."""
        score = self._scorer(gallery)
        if not gallery.unknown:
            return score

        def score_whole(tile: Tile) -> Scores:
            fused = score(complete(tile, gallery, lists_only=self.reads_unknown))
            nobody = unknown_to_all(tile)
            return below_all(fused, nobody) if nobody.any() else fused

        return score_whole

    @property
    def name(self) -> str:
        """Name of the class, which starts messages."""
        return type(self).__name__

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

    def with_bank(self, bank: SimilarityStack) -> Self:
        """Return this fusion with another query bank, which a new gallery needs.

        Raises
        ------
        OptionError
            If the fuser has no bank.
        """
        raise OptionError(f"{self.name}: has no query bank. Leave the bank out.")

    def clone(self) -> Self:
        """Return an unfitted fuser with the same constructor arguments."""
        return type(self)(**self.params())

    def params(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return what ``fit`` learned: arrays by name, and JSON values by name."""
        return {}, {}

    def set_state(  # noqa: B027  # may have learned nothing
        self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]
    ) -> None:
        """Restore what ``get_state`` returned."""

    def _fit(  # noqa: B027  # may learn nothing
        self, stack: SimilarityStack, *, bank: SimilarityStack | None, progress: Progress | None
    ) -> None:
        """Learn from a stack; the record is there already."""

    @abstractmethod
    def _scorer(self, gallery: Gallery) -> TileScorer:
        """Return the function that fuses tiles of a gallery that has been checked."""
