"""What every fusion over channels does with its query bank: keep, replace, save, do without.

Learning from examples is ``fuser.py``'s; what a bank holds is ``bank.py``'s.
"""

from __future__ import annotations

import copy
import logging
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import FuserError
from dafm_core.fusion.base import Fuser, Scores, Tile, TileScorer
from dafm_core.fusion.best import BestScorer
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.compiled import WORTH_COMPILING, row_loops
from dafm_core.fusion.channels.families import NEIGHBOUR_FAMILIES
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.tops import TwoStages
from dafm_core.fusion.channels.view import ChannelReader, ViewScorer
from dafm_core.fusion.completing import completed
from dafm_core.metrics.families import Head
from dafm_core.store.gallery import Gallery
from dafm_core.store.stack import SimilarityStack

logger = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


class BankedFusion(Fuser):
    """A fusion over channels of single candidates, some of which are made of a query bank.

    A gallery that the bank does not know is fused without a bank, with a warning. Without a
    provider it was fitted on, a fusion goes on with the others, with a warning.

    Attributes
    ----------
    families_ : tuple of str
        Inputs in use; neighbours are left out where no provider knows any.
    bank_ : QueryBank or None
    outsiders_ : tuple of str
        Providers that do not count, where a fusion leaves any out.
    """

    may_lack_providers = True

    families_: tuple[str, ...]
    bank_: QueryBank | None
    outsiders_: tuple[str, ...] = ()
    _kept_reader: ChannelReader

    def _cheap_scorer(self, reader: ChannelReader) -> ViewScorer | None:
        """Return what scores views for the gallery nearly as well at a fraction of the cost."""
        return None

    def _best_scorer(self, gallery: Gallery, k: int, n_rows: int | None) -> BestScorer | None:
        worth = n_rows is None or n_rows >= WORTH_COMPILING
        stages = self.two_stages(gallery, compiled=worth)
        return lambda tile: stages.best(tile, k)

    def two_stages(self, gallery: Gallery, *, compiled: bool) -> TwoStages:
        """Return what finds the best candidates of rows of a gallery that was found to fit.

        Parameters
        ----------
        compiled : bool
            Whether by machine code, where there is any; else by NumPy, which is ready at once.
        """
        reader, scorers = self.readied(gallery, ("gallery",))
        return TwoStages(
            reader,
            scorers["gallery"],
            cheap=self._cheap_scorer(reader),
            loops=row_loops() if compiled else None,
        )

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

    def with_query_bank(self, bank: QueryBank, query_ids: Iterable[str], gallery: Gallery) -> Self:
        """Return this fusion with a bank that was made before: what a gallery index keeps.

        A fusion none of whose inputs needs a bank stays as it is. Errors as :meth:`with_bank`.
        """
        if not self.is_fitted or self.bank_ is None:
            return self
        self.record_.check(gallery, who=self.name, may_lack=True)
        other = copy.copy(self)
        other.bank_ = bank
        other.record_ = replace(self.record_, bank_ids=frozenset(query_ids))
        return other

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return bank and families."""
        arrays: dict[str, NDArray[Any]] = {}
        values: dict[str, Any] = {"families": list(self.families_)}
        if self.bank_ is not None:
            arrays, values["bank"] = self.bank_.to_state()
        return arrays, values

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Restore what ``get_state`` returned."""
        self.families_ = tuple(values["families"])
        self.bank_ = QueryBank.from_state(arrays, values["bank"]) if "bank" in values else None

    @abstractmethod
    def readied(
        self, gallery: Gallery, heads: Sequence[Head]
    ) -> tuple[ChannelReader, dict[Head, ViewScorer]]:
        """Return what makes the channels of a gallery, and what scores them for each head.

        A view of a few images alone, made in another way than from whole rows, can be scored so.
        """

    @property
    def _uses_neighbours(self) -> bool:
        return self._families_without_neighbours != self.families_

    @property
    def _families_without_neighbours(self) -> tuple[str, ...]:
        return tuple(name for name in self.families_ if name not in NEIGHBOUR_FAMILIES)

    def _lacks_neighbours(self, gallery: Gallery, *, instead: str) -> bool:
        """Say whether a gallery lacks the neighbours that are among the inputs, and warn if so."""
        lacks = self._uses_neighbours and not gallery.neighbours
        if lacks:
            logger.warning(
                "%s: no provider of this gallery knows neighbours, so it is fused %s. Score or "
                "index it with features for the best ranking.",
                *(self.name, instead),
            )
        return lacks

    def _reader(self, gallery: Gallery, families: tuple[str, ...]) -> ChannelReader:
        """Return what makes the channels of a gallery, with the bank where it knows the gallery."""
        kept: ChannelReader | None = vars(self).get("_kept_reader")
        layout = Layout(families, self.record_.providers, self.outsiders_)
        bank = self._bank_for(gallery)
        if kept is None or not kept.is_of(gallery, layout, bank):
            self._kept_reader = kept = ChannelReader.of(gallery, layout, bank)
        return kept

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


def view_scorer(
    reader: ChannelReader, scorers: Mapping[Key, ViewScorer]
) -> Callable[[Tile], Mapping[Key, Scores]]:
    """Return the function that reads a tile once and scores what is seen; -inf where excluded.

    Parameters
    ----------
    scorers : mapping
        Each ranking's, by head or by whatever tells them apart.
    """

    def score(tile: Tile) -> Mapping[Key, Scores]:
        view, excluded = reader.read(tile), np.isneginf(tile[:, 0])
        fused = {key: score_view(view) for key, score_view in scorers.items()}
        for scores in fused.values():
            scores[excluded] = -np.inf
        return fused

    return score


def tile_scorer(reader: ChannelReader, score_view: ViewScorer) -> TileScorer:
    """Return :func:`view_scorer` of one score."""
    score = view_scorer(reader, {"gallery": score_view})
    return lambda tile: score(tile)["gallery"]
