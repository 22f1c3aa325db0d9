"""The shell of every fusion that learns from channels: bank, examples, saving, and what to do
without a provider, a bank or neighbours.

A fusion of one's own writes two methods: what to learn from examples, and how to score a view.
"""

from __future__ import annotations

import copy
import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError, FuserError
from dafm_core.fusion.base import Fuser, Progress, Scores, Tile, TileScorer
from dafm_core.fusion.channels.bank import QueryBank, training_bank
from dafm_core.fusion.channels.examples import Examples, make_examples
from dafm_core.fusion.channels.families import NEIGHBOUR_FAMILIES
from dafm_core.fusion.channels.knowledge import KnowledgeScorer
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.options import ChannelOptions
from dafm_core.fusion.channels.view import ChannelReader, TileView, usable_families
from dafm_core.fusion.completing import completed
from dafm_core.store.gallery import Gallery
from dafm_core.store.stack import SimilarityStack

logger = logging.getLogger(__name__)

ViewScorer: TypeAlias = Callable[[TileView], Scores]
"""Scores the candidates of a view, ``(B, N)``; excluded cells are removed by the shell."""


@dataclass(frozen=True, eq=False)
class Learned:
    """What was learned from examples, in the form in which it is saved.

    Parameters
    ----------
    arrays : dict of str to ndarray
    notes : dict of str to JSON value
    """

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


OptionsType = TypeVar("OptionsType", bound=ChannelOptions)


class ChannelFusion(Fuser, Generic[OptionsType]):
    """A fusion learned from channels of single candidates.

    A subclass names its options and writes :meth:`_learn` and :meth:`_ready`. The rest is alike in
    all of them. A gallery that the bank does not know is fused without a bank, with a warning.
    Without a provider it was fitted on, a fusion goes on with the others, with a warning; so it
    does, silently, for candidates that a provider was not asked about (``knowledge.py``). Without
    neighbours it uses what it learned without them, with a warning; that is learned when it is
    first needed, or saved.

    Parameters
    ----------
    **options
        Fields of ``options_type``, by name.

    Attributes
    ----------
    options : ChannelOptions
    families_ : tuple of str
        Inputs in use; neighbours are left out where no provider knows any.
    bank_ : QueryBank or None
    learned_ : Learned

    Raises
    ------
    OptionError
        For an unknown option, or a value out of range.
    """

    kind = "learned"
    learns = True
    may_lack_providers = True
    reads_unknown = True
    options_type: ClassVar[type[ChannelOptions]]

    options: OptionsType
    families_: tuple[str, ...]
    bank_: QueryBank | None
    learned_: Learned

    def __init__(self, **options: Any) -> None:
        self.options = self.options_type.of(options)  # type: ignore[assignment]  # as declared
        self._without_neighbours: Learned | None = None
        self._examples: Examples | None = None

    @abstractmethod
    def _learn(self, examples: Examples, progress: Progress | None) -> Learned:
        """Return what can be learned from examples; ``examples.known_to`` leaves out candidates
        that a provider was not asked about.
        """

    @abstractmethod
    def _ready(self, learned: Learned, reader: ChannelReader) -> ViewScorer:
        """Return the function that scores views made by this reader.

        Channels that ``reader.available`` does not mark are zero.
        """

    def _learn_spare(self, examples: Examples) -> Learned:
        """Return what to use where there are no neighbours; by default the same, without them."""
        return self._learn(examples, None)

    def params(self) -> dict[str, Any]:
        """Return every option by name."""
        return self.options.flat()

    def with_bank(self, bank: SimilarityStack) -> Self:
        """Return this fusion with another query bank: what a new gallery needs.

        Parameters
        ----------
        bank : SimilarityStack
            Any queries, without labels, scored against the new gallery by the same providers;
            none that will be evaluated.

        Raises
        ------
        FuserError
            Before ``fit``.
        OptionError
            If none of the inputs needs a bank.
        AlignmentError
            If the bank has a provider this fusion was not fitted on, or another model behind it.
        """
        if not self.is_fitted:
            raise FuserError(f"{self.name} is not fitted. Call fit(stack) first.")
        if self.bank_ is None:
            return super().with_bank(bank)
        self.record_.check(bank.gallery, who=f"{self.name}.with_bank", may_lack=True)
        other = copy.copy(self)
        other.bank_ = QueryBank.of(completed(bank, lists_only=True))
        other.record_ = replace(self.record_, bank_ids=frozenset(bank.query_ids))
        return other

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return bank, families and everything learned."""
        arrays: dict[str, NDArray[Any]] = {}
        values: dict[str, Any] = {"families": list(self.families_)}
        if self.bank_ is not None:
            arrays, values["bank"] = self.bank_.to_state()
        learned = {"learned": self.learned_}
        if self._uses_neighbours and self._families_without_neighbours:
            learned["without_neighbours"] = self._spare()
        for part, content in learned.items():
            arrays |= {f"{part}.{name}": array for name, array in content.arrays.items()}
            values[part] = content.notes
        return arrays, values

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Restore what ``get_state`` returned."""
        self.families_ = tuple(values["families"])
        self.bank_ = QueryBank.from_state(arrays, values["bank"]) if "bank" in values else None
        self.learned_ = _learned_from(arrays, values, "learned")
        if "without_neighbours" in values:
            self._without_neighbours = _learned_from(arrays, values, "without_neighbours")

    def _fit(
        self, stack: SimilarityStack, *, bank: SimilarityStack | None, progress: Progress | None
    ) -> None:
        self.families_ = usable_families(stack.gallery, self.options.families)
        if not self.families_:
            raise FuserError(
                f"{self.name}.fit: expected inputs that can be made of this stack, got "
                f"{self.options.inputs!r}, but no provider knows neighbours. Add other inputs."
            )
        self.bank_ = training_bank(stack, self.families_, bank)
        examples = make_examples(
            stack,
            self.families_,
            n_hard=self.options.n_hard,
            n_uniform=self.options.n_others(stack.n_gallery),
            seed=self.options.seed,
            bank=self.bank_ if bank is not None else None,
        )
        self.learned_ = self._learn(examples, progress)
        self._without_neighbours = None
        self._examples = examples if self._uses_neighbours else None

    def _scorer(self, gallery: Gallery) -> TileScorer:
        if "not-asked" in gallery.unknown.values():
            return KnowledgeScorer(self._dense_scorer, gallery)
        return self._dense_scorer(gallery)

    def _dense_scorer(self, gallery: Gallery) -> TileScorer:
        """Return the function that fuses tiles; a channel of a cell that is NaN is zero."""
        families, learned = self.families_, self.learned_
        if self._uses_neighbours and not gallery.neighbours:
            logger.warning(
                "%s: no provider of this gallery knows neighbours, so it is fused by what was "
                "learned without them. Score or index it with features for the best ranking.",
                self.name,
            )
            families, learned = self._families_without_neighbours, self._spare()
        layout = Layout(families, self.record_.providers)
        reader = ChannelReader.of(gallery, layout, self._bank_for(gallery))
        score_view = self._ready(learned, reader)

        def score(tile: Tile) -> Scores:
            fused = score_view(reader.read(tile))
            fused[np.isneginf(tile[:, 0])] = -np.inf
            return fused

        return score

    @property
    def _uses_neighbours(self) -> bool:
        return self._families_without_neighbours != self.families_

    @property
    def _families_without_neighbours(self) -> tuple[str, ...]:
        return tuple(name for name in self.families_ if name not in NEIGHBOUR_FAMILIES)

    def _spare(self) -> Learned:
        """Return what is used without neighbours, learned from the kept examples where needed."""
        if self._without_neighbours is None:
            families = self._families_without_neighbours
            if self._examples is None or not families:
                raise AlignmentError(
                    f"{self.name}: has learned from neighbours alone, and no provider of this "
                    "gallery knows any. Score it with a provider that encodes images."
                )
            self._without_neighbours = self._learn_spare(self._examples.of_families(families))
        return self._without_neighbours

    def _bank_for(self, gallery: Gallery) -> QueryBank | None:
        """Return the bank where it knows the gallery, or None, with a warning, where it does not.

        Raises
        ------
        AlignmentError
            If the bank was given for this very use and lacks an image.
        """
        if self.bank_ is None or self.bank_.covers(gallery):
            return self.bank_
        if self.record_.bank_ids:
            self.bank_.aligned(gallery)  # says which image the bank lacks
        logger.warning(
            "%s: the bank knows another gallery, so this one is fused without a bank. Score some "
            "other queries against it and use with_bank(stack), or dafm fuse --bank.",
            self.name,
        )
        return None


def _learned_from(
    arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any], part: str
) -> Learned:
    prefix = f"{part}."
    mine = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
    return Learned(mine, dict(values[part]))
