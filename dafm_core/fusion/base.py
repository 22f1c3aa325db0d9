"""What a fuser is, and what it returns: scikit-learn manners over a stack of similarities.

The concrete rules live beside this file; saving and loading in ``saving.py``.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.descriptions import FuserInfo, Kind
from dafm_core.errors import AlignmentError, FuserError, LeakageError

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.store.stack import SimilarityStack

__all__ = ["Fuser", "FuserInfo", "Kind", "Progress", "Run", "Tile", "TileScorer"]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""

Tile: TypeAlias = NDArray[np.float32]
"""Raw scores of a few queries, ``(B, K, N)``; excluded cells are -inf, all others finite."""

TileScorer: TypeAlias = Callable[[Tile], NDArray[np.float32]]
"""Fuses a tile ``(B, K, N) -> (B, N)``; excluded cells stay -inf; rows do not see each other."""


@dataclass(frozen=True, eq=False)
class Run:
    """A named result: one fused score per query and candidate.

    Parameters
    ----------
    name : str
    query_ids, gallery_ids : tuple of str
    scores : ndarray of shape (n_queries, n_gallery), float32
        Higher is better; -inf where the candidate is excluded for the query.
    """

    name: str
    query_ids: tuple[str, ...]
    gallery_ids: tuple[str, ...]
    scores: NDArray[np.float32]


class Fuser(ABC):
    """Base of all fusers: the constructor stores, ``fit`` learns ``name_`` attributes, ``fuse``
    scores.

    A subclass implements ``_fit`` (where it learns anything), ``scorer``, and ``get_state`` /
    ``set_state`` (where it has learned arrays). Constructor arguments are keyword-only, of JSON
    types, and stored under their own names.

    Attributes
    ----------
    provider_names_ : tuple of str
        Providers seen by ``fit``, sorted.
    fitted_query_ids_ : frozenset of str
        Queries whose targets ``fit`` has used; empty for rules that learn nothing.
    bank_query_ids_ : frozenset of str
        Unlabelled queries given for the bank; they are never fused.
    passports_ : dict
        What is known of each provider's matrix at fit time: fingerprint and options.
    protocol_ : str
    """

    kind: ClassVar[Kind] = "static"
    learns: ClassVar[bool] = False
    """Whether ``fit`` uses targets."""
    bank_queries: SimilarityStack | None = None
    """Unlabelled queries, none of them in training or evaluation, that a fuser which makes a query
    bank makes it of; by default it takes the training queries."""

    on_progress: Progress | None = None
    """Told how ``fit`` comes along, by fusers that take their time."""

    provider_names_: tuple[str, ...]
    fitted_query_ids_: frozenset[str]
    bank_query_ids_: frozenset[str] = frozenset()
    passports_: dict[str, Mapping[str, Any]]
    protocol_: str

    def fit(self, stack: SimilarityStack, dataset: Dataset) -> Self:
        """Learn from the queries of ``dataset``; the stack may hold more queries than that.

        Parameters
        ----------
        stack : SimilarityStack of K providers
        dataset : Dataset
            Training queries with targets; its gallery is the stack's.

        Raises
        ------
        AlignmentError
            If a query of the dataset is not in the stack, or the galleries differ.
        FuserError
            If there is nothing to learn from.
        """
        if dataset.protocol != stack.protocol:
            raise AlignmentError(
                f"{type(self).__name__}.fit: expected queries of protocol {stack.protocol!r}, got "
                f"{dataset.protocol!r}. Score the dataset and load it from the same store."
            )
        if self.learns and not dataset.targets.counts.any():
            raise FuserError(
                f"{type(self).__name__}.fit: no training query has a target in the gallery. "
                "Train on a split with targets."
            )
        part = stack.take_queries(dataset.query_ids)
        self.provider_names_ = part.names
        self.passports_ = dict(part.passports)
        self.protocol_ = part.protocol
        self.bank_query_ids_ = frozenset()
        if self.bank_queries is not None:
            self._check_passports(self.bank_queries)
            self.bank_query_ids_ = frozenset(self.bank_queries.query_ids)
        self.fitted_query_ids_ = frozenset(part.query_ids if self.learns else ())
        self._fit(part, dataset)
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
        score = self.checked_scorer(stack)
        scores = np.empty((stack.n_queries, stack.n_gallery), np.float32)
        for rows, tile in stack.tiles():
            scores[rows] = score(tile)
        return Run(name or type(self).__name__, stack.query_ids, stack.gallery_ids, scores)

    def checked_scorer(self, stack: SimilarityStack) -> TileScorer:
        """Return ``scorer(stack)`` after checking that this fuser fits the stack."""
        if not hasattr(self, "provider_names_"):
            raise FuserError(
                f"{type(self).__name__} is not fitted. Call fit(stack, dataset) first."
            )
        self._check_providers(stack)
        self._check_passports(stack)
        self._check_bank(stack)
        return self.scorer(stack)

    def _check_providers(self, stack: SimilarityStack) -> None:
        """Raise AlignmentError unless the stack holds exactly the providers fitted on."""
        if stack.names != self.provider_names_:
            raise AlignmentError(
                f"{type(self).__name__}: expected providers {', '.join(self.provider_names_)}, got "
                f"{', '.join(stack.names)}. Score the missing ones, or train on these."
            )

    def _check_passports(self, stack: SimilarityStack) -> None:
        """Raise AlignmentError where a provider's fingerprint is not the one fitted on."""
        for name in stack.names:
            fitted = self.passports_.get(name, {}).get("fingerprint", {})
            given = stack.passports.get(name, {}).get("fingerprint", {})
            for key in sorted(fitted.keys() & given.keys()):
                if fitted[key] != given[key]:
                    raise AlignmentError(
                        f"{type(self).__name__}: provider {name!r}: expected {key} "
                        f"{fitted[key]!r}, as it was fitted on, got {given[key]!r}. "
                        "Score with the same model, or train again."
                    )

    def _check_bank(self, stack: SimilarityStack) -> None:
        """Raise LeakageError where a query to fuse is in the bank."""
        shared = self.bank_query_ids_ & set(stack.query_ids)
        if shared:
            raise LeakageError(
                f"{type(self).__name__}: the bank holds {len(shared)} of the queries to fuse, e.g. "
                f"{min(shared)!r}. Give a bank of other queries."
            )

    def _fit(self, stack: SimilarityStack, dataset: Dataset) -> None:  # noqa: B027  # may learn nothing
        """Learn from a stack that holds exactly the dataset's queries, in its order."""

    @abstractmethod
    def scorer(self, stack: SimilarityStack) -> TileScorer:
        """Return the function that fuses this stack's tiles; align by gallery id here, once."""

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
