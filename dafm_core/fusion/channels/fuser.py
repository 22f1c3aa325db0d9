"""The shell of every fusion that learns from channels: examples, heads, saving, what to do without
neighbours; what it does with its bank stands in ``banked.py``.

A fusion of one's own writes two methods: what to learn from examples, and how to score a view. One
that learns two heads is asked to learn twice, from candidates of the gallery and from rivals in the
subset; bank and channels are made once for both.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError, FuserError
from dafm_core.fusion.base import HeadScorer, Scores, Tile, TileScorer
from dafm_core.fusion.channels.agreement import find_outsiders
from dafm_core.fusion.channels.bank import BankQueries, training_bank
from dafm_core.fusion.channels.banked import BankedFusion, view_scorer
from dafm_core.fusion.channels.examples import N_BANK_FOLDS, Examples, make_examples
from dafm_core.fusion.channels.knowledge import KnowledgeScorer
from dafm_core.fusion.channels.options import ChannelOptions
from dafm_core.fusion.channels.view import ChannelReader, ViewScorer, usable_families
from dafm_core.fusion.learned import check_learned
from dafm_core.ground.progress import Progress
from dafm_core.metrics.families import HEADS, Head
from dafm_core.store.gallery import Gallery
from dafm_core.store.stack import SimilarityStack

__all__ = ["ChannelFusion", "Learned", "ViewScorer"]


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


class ChannelFusion(BankedFusion, Generic[OptionsType]):
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
        What ranks the gallery.
    by_head_ : dict of str to Learned
        What ranks the gallery and, with two heads, what ranks the query's subset.

    Raises
    ------
    OptionError
        For an unknown option, or a value out of range.
    """

    kind = "learned"
    learns = True
    reads_unknown = True
    options_type: ClassVar[type[ChannelOptions]]

    options: OptionsType
    by_head_: dict[Head, Learned]

    def __init__(self, **options: Any) -> None:
        self.options = self.options_type.of(options)  # type: ignore[assignment]  # as declared
        self._without_neighbours: dict[Head, Learned] = {}
        self._examples: dict[Head, Examples] = {}

    @property
    def learned_(self) -> Learned:
        """What ranks the gallery."""
        return self.by_head_["gallery"]

    @property
    def heads(self) -> tuple[Head, ...]:
        """The rankings that were learned apart."""
        return tuple(self.by_head_) if self.is_fitted else ("gallery",)

    @property
    def learns_heads(self) -> bool:
        """Whether a ranking of the subset is learned apart where queries have one."""
        return False

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

    def with_labels(self, groups: Collection[str]) -> Self:
        """Return what this fit would have learned had only some groups of queries been labelled.

        Bank and channels are those that are there: of all training queries, labelled or not. So
        that what labels buy can be measured without making everything again for each number of
        them.

        Parameters
        ----------
        groups : collection of str
            Of training queries.

        Raises
        ------
        FuserError
            If the fuser was loaded, which leaves examples behind, or no example is of the groups.
        """
        chosen: dict[Head, Examples] = {}
        for head, examples in self._examples.items():
            rows = np.flatnonzero(np.isin(examples.groups, np.array(list(groups))))
            if len(rows):
                chosen[head] = examples.take(rows)
        if "gallery" not in chosen:
            raise FuserError(
                f"{self.name}.with_labels: no example of these groups is kept. Call fit(stack) "
                "first, and give groups of its queries."
            )
        other = copy.copy(self)
        other.by_head_ = {head: self._learn(some, None) for head, some in chosen.items()}
        other._without_neighbours, other._examples = {}, chosen
        return other

    def params(self) -> dict[str, Any]:
        """Return every option by name."""
        return self.options.flat()

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return bank, families and everything learned."""
        arrays, values = super().get_state()
        learned = {_part(head, "learned"): found for head, found in self.by_head_.items()}
        if self._uses_neighbours and self._families_without_neighbours:
            for head in self.heads:
                learned[_part(head, "without_neighbours")] = self._spare(head)
        for part, content in learned.items():
            arrays |= {f"{part}.{name}": array for name, array in content.arrays.items()}
            values[part] = content.notes
        return arrays, values

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Restore what ``get_state`` returned."""
        super().set_state(arrays, values)
        self.by_head_ = _by_head(arrays, values, "learned")
        self._without_neighbours = _by_head(arrays, values, "without_neighbours")

    def _fit(
        self, stack: SimilarityStack, *, bank: SimilarityStack | None, progress: Progress | None
    ) -> None:
        self.families_ = usable_families(stack.gallery, self.options.families)
        if not self.families_:
            raise FuserError(
                f"{self.name}.fit: expected inputs that can be made of this stack, got "
                f"{self.options.inputs!r}, but no provider knows neighbours. Add other inputs."
            )
        queries = BankQueries(stack, bank, n_folds=N_BANK_FOLDS, seed=self.options.seed)
        self.bank_ = training_bank(stack, self.families_, bank, queries)
        examples = make_examples(
            stack,
            self.families_,
            n_hard=self.options.n_hard,
            n_uniform=self.options.n_others(stack.n_gallery),
            seed=self.options.seed,
            bank=bank,
            queries=queries,
        )
        del queries  # and what they keep of their scores
        layout = replace(examples.layout, outsiders=self._outsiders_among(stack, bank))
        examples = replace(examples, layout=layout)
        by_head: dict[Head, Examples] = {"gallery": examples}
        if self.learns_heads and len(subsets := examples.within_subsets()):
            by_head["subset"] = subsets
        self.by_head_ = {
            head: self._learn(some, _told(progress, head, len(by_head)))
            for head, some in by_head.items()
        }
        for learned in self.by_head_.values():
            check_learned(self.name, learned.arrays)
        self._without_neighbours = {}
        self._examples = by_head

    def _outsiders_among(
        self, stack: SimilarityStack, bank: SimilarityStack | None
    ) -> tuple[str, ...]:
        asked = stack if bank is None else bank
        return stack.remember(("outsiders", bank), lambda: find_outsiders(asked, self.bank_))

    def _scorer(self, gallery: Gallery) -> TileScorer:
        score = self._head_scorer(gallery, ("gallery",))
        return lambda tile: score(tile)["gallery"]

    def _head_scorer(self, gallery: Gallery, heads: Sequence[Head]) -> HeadScorer:
        own: dict[Head, Head] = {head: head if head in self.heads else "gallery" for head in heads}
        score_own = self._own_scorer(gallery, tuple(dict.fromkeys(own.values())))

        def score(tile: Tile) -> Mapping[Head, Scores]:
            fused = score_own(tile)
            return {head: fused[which] for head, which in own.items()}

        return score

    def _own_scorer(self, gallery: Gallery, heads: Sequence[Head]) -> HeadScorer:
        """Return the function that fuses tiles for some of the heads that were learned."""
        if "not-asked" not in gallery.unknown.values():
            return self._dense_scorer(gallery, heads)
        by_head = {head: KnowledgeScorer(partial(self._dense, head), gallery) for head in heads}
        return lambda tile: {head: score(tile) for head, score in by_head.items()}

    def _dense(self, head: Head, gallery: Gallery) -> TileScorer:
        score = self._dense_scorer(gallery, (head,))
        return lambda tile: score(tile)[head]

    def _dense_scorer(self, gallery: Gallery, heads: Sequence[Head]) -> HeadScorer:
        """Return the function that fuses tiles; a channel of a cell that is NaN is zero."""
        return view_scorer(*self.readied(gallery, heads))

    def readied(
        self, gallery: Gallery, heads: Sequence[Head]
    ) -> tuple[ChannelReader, dict[Head, ViewScorer]]:
        """Return what makes the channels of a gallery, and what scores them for each head."""
        families, learned = self.families_, self.by_head_
        if self._lacks_neighbours(gallery, instead="by what was learned without them"):
            families = self._families_without_neighbours
            learned = {head: self._spare(head) for head in heads}
        reader = self._reader(gallery, families)
        return reader, {head: self._ready(learned[head], reader) for head in heads}

    def _spare(self, head: Head) -> Learned:
        """Return what is used without neighbours, learned from the kept examples where needed."""
        if head not in self._without_neighbours:
            families = self._families_without_neighbours
            if not self._examples or not families:
                raise AlignmentError(
                    f"{self.name}: has learned from neighbours alone, and no provider of this "
                    "gallery knows any. Score it with a provider that encodes images."
                )
            examples = self._examples[head].of_families(families)
            self._without_neighbours[head] = self._learn_spare(examples)
        return self._without_neighbours[head]


def _part(head: Head, what: str) -> str:
    """Return what a head's part is saved under; the gallery's as before there was another."""
    return what if head == "gallery" else f"{head}_{what}"


def _by_head(
    arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any], what: str
) -> dict[Head, Learned]:
    """Return what was saved of each head."""
    found: dict[Head, Learned] = {}
    for head in HEADS:
        part = _part(head, what)
        if part in values:
            prefix = f"{part}."
            mine = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
            found[head] = Learned(mine, dict(values[part]))
    return found


def _told(progress: Progress | None, head: Head, n_heads: int) -> Progress | None:
    """Return what tells of one head's training, by name where there are several."""
    if progress is None or n_heads == 1:
        return progress
    return lambda what, done, total: progress(f"{head} head, {what}", done, total)
