"""The shell of every fusion that learns from channels: examples, saving, what to do without
neighbours; what it does with its bank stands in ``banked.py``.

A fusion of one's own writes two methods: what to learn from examples, and how to score a view.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from numpy.typing import NDArray

from dafm_core.errors import AlignmentError, FuserError
from dafm_core.fusion.base import Progress, TileScorer
from dafm_core.fusion.channels.bank import training_bank
from dafm_core.fusion.channels.banked import BankedFusion, ViewScorer, tile_scorer
from dafm_core.fusion.channels.examples import Examples, make_examples
from dafm_core.fusion.channels.knowledge import KnowledgeScorer
from dafm_core.fusion.channels.options import ChannelOptions
from dafm_core.fusion.channels.view import ChannelReader, usable_families
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

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return bank, families and everything learned."""
        arrays, values = super().get_state()
        learned = {"learned": self.learned_}
        if self._uses_neighbours and self._families_without_neighbours:
            learned["without_neighbours"] = self._spare()
        for part, content in learned.items():
            arrays |= {f"{part}.{name}": array for name, array in content.arrays.items()}
            values[part] = content.notes
        return arrays, values

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Restore what ``get_state`` returned."""
        super().set_state(arrays, values)
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
        if self._lacks_neighbours(gallery, instead="by what was learned without them"):
            families, learned = self._families_without_neighbours, self._spare()
        reader = self._reader(gallery, families)
        return tile_scorer(reader, self._ready(learned, reader))

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


def _learned_from(
    arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any], part: str
) -> Learned:
    prefix = f"{part}."
    mine = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
    return Learned(mine, dict(values[part]))
