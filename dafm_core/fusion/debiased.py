"""The label-free fusion: fixed weights of channels, and a bank of queries without targets.

How each channel is made is ``channels/view.py``'s; what the bank holds, ``channels/bank.py``'s.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import HeadScorer, Scores, TileScorer
from dafm_core.fusion.channels.agreement import find_outsiders
from dafm_core.fusion.channels.bank import training_bank
from dafm_core.fusion.channels.banked import BankedFusion, view_scorer
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.options import DebiasedOptions
from dafm_core.fusion.channels.shared import of_head, over_providers
from dafm_core.fusion.channels.view import (
    ChannelReader,
    TileView,
    ViewScorer,
    usable_families,
)
from dafm_core.ground.progress import Progress
from dafm_core.metrics.families import HEADS, Head
from dafm_core.store.gallery import Gallery
from dafm_core.store.stack import SimilarityStack

logger = logging.getLogger(__name__)

EVIDENCE: Final = "restandardized"
"""Always made, because ranks and neighbours are those of the evidence, whatever its own weight."""


class DebiasedFusion(BankedFusion):
    """Sum of a few views of every provider's scores, with weights that no label has touched.

    A score says two things: how well a candidate fits this query, and how high the model scores
    that candidate whatever is asked. The second is a bias, and it differs from model to model. A
    bank of queries shows it without a single target. Three views count alike by default: the log
    rank of the score once the bias is removed (``ranks``), how few queries of the bank score the
    candidate higher (``reverse``), and what the query has in common with others (``topics``). What
    the candidate's nearest images score (``neighbours``) counts half where a gallery is ranked, and
    not at all where a subset is: its members are neighbours.

    ``fit`` uses no target: it makes the bank, of the queries it is given or of those in ``bank``.
    A fusion whose bank holds its own queries remembers them, so that it is not evaluated on them.
    A provider that agrees with no other is left out, with a warning: noise among the models costs a
    fusion that trusts all of them alike more than a weak model gives it. It is asked, by the bank's
    queries, what it scores the candidates that the others like best. So a model that is right
    alone is left out too: ``least_agreement=0`` keeps every provider.

    Before ``fit``, and on a gallery that the bank does not know, it goes on without a bank, with a
    warning: then ``reverse`` and ``topics`` are left out, and ranks are those of the plain scores.

    Parameters
    ----------
    **options
        Weights by channel family, dimensionless, of either sign, and ``least_agreement``, from 0
        to 1: see :class:`~dafm_core.fusion.channels.options.DebiasedOptions`.

    Attributes
    ----------
    options : DebiasedOptions
    bank_ : QueryBank
    families_ : tuple of str
        Views in use; neighbours are left out where no provider knows any.
    outsiders_ : tuple of str
        Providers that agree with no other, and do not count.

    Raises
    ------
    OptionError
        For an unknown family, or weights that are not finite or all zero.

    Notes
    -----
    How the default weights were found, and what weights reach on data that had no part in choosing
    them, is told in docs/how-to/fuse-without-labels.md.

    References
    ----------
    Standardised columns and reverse ranks answer the hubs of Radovanovic et al., Hubs in Space,
    JMLR 11, 2010; to correct retrieval by a bank of queries is the idea of Bogolin et al., Cross
    Modal Retrieval with Querybank Normalisation, CVPR 2022. The form here is ours.
    """

    kind = "static"
    has_default = True

    options_type = DebiasedOptions

    _trusted_of: tuple[Gallery, Gallery] | None = None

    def __init__(self, **options: Any) -> None:
        self.options = DebiasedOptions.of(options)

    def params(self) -> dict[str, Any]:
        """Return every option."""
        return self.options.flat()

    def _fit(
        self, stack: SimilarityStack, *, bank: SimilarityStack | None, progress: Progress | None
    ) -> None:
        self.bank_ = training_bank(stack, (EVIDENCE,), bank)
        self.outsiders_ = self._disagreeing(stack if bank is None else bank)
        self.families_ = self._families_for(self._trusted(stack.gallery))
        if bank is None:  # a query in its own bank pushes up the very candidates it asks for
            self.record_ = replace(self.record_, query_ids=frozenset(stack.query_ids))

    def _disagreeing(self, bank: SimilarityStack) -> tuple[str, ...]:
        """Return the providers that clearly agree with no other, and warn of them."""
        names = find_outsiders(bank, self.bank_, least=self.options.least_agreement)
        if names:
            logger.warning(
                "%s: left out %s: what the other models like best is scored little above the mean "
                "there. If it is right where they are wrong, keep it with least_agreement=0.",
                *(self.name, ", ".join(names)),
            )
        return names

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return bank, families, and who is left out."""
        arrays, values = super().get_state()
        return arrays, values | {"outsiders": list(self.outsiders_)}

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Restore what ``get_state`` returned."""
        super().set_state(arrays, values)
        self.outsiders_ = tuple(values.get("outsiders", ()))  # models of 0.1 have none

    @property
    def heads(self) -> tuple[Head, ...]:
        """Two where neighbours are among the views, which rank galleries only."""
        known = self.is_fitted and self._uses_neighbours and bool(self._families_without_neighbours)
        return HEADS if known else ("gallery",)

    def _scorer(self, gallery: Gallery) -> TileScorer:
        score = self._head_scorer(gallery, ("gallery",))
        return lambda tile: score(tile)["gallery"]

    def _head_scorer(self, gallery: Gallery, heads: Sequence[Head]) -> HeadScorer:
        return view_scorer(*self.readied(gallery, heads))

    def readied(
        self, gallery: Gallery, heads: Sequence[Head]
    ) -> tuple[ChannelReader, dict[Head, ViewScorer]]:
        """Return what makes the channels of a gallery, and what weighs them for each head."""
        gallery = self._trusted(gallery)
        if self.is_fitted:
            lacks_neighbours = self._lacks_neighbours(gallery, instead="without them")
            families = self._families_without_neighbours if lacks_neighbours else self.families_
            reader = self._reader(gallery, families)
        else:
            logger.warning(
                "%s: has no query bank, so that what is made of one is left out. Call fit(stack) "
                "with queries against this gallery; they need no targets.",
                self.name,
            )
            layout = Layout(self._families_for(gallery), gallery.names)
            reader = ChannelReader.of(gallery, layout, None)
        return reader, {head: self._weighted(reader, head) for head in heads}

    def _trusted(self, gallery: Gallery) -> Gallery:
        """Return the gallery without the neighbours by outsiders; one object for one gallery."""
        kept = {n: near for n, near in gallery.neighbours.items() if n not in self.outsiders_}
        if len(kept) == len(gallery.neighbours):
            return gallery
        if self._trusted_of is None or self._trusted_of[0] is not gallery:
            self._trusted_of = gallery, replace(gallery, neighbours=kept)
        return self._trusted_of[1]

    def _families_for(self, gallery: Gallery) -> tuple[str, ...]:
        """Return the families that have a weight and can be made of a gallery, and the evidence."""
        by_family = self.options.weights
        wanted = tuple(name for name in by_family if by_family[name] or name == EVIDENCE)
        return usable_families(gallery, wanted)

    def _weighted(self, reader: ChannelReader, head: Head) -> ViewScorer:
        """Return the weighted sum of channels: a mean over the providers that are there."""
        by_family = of_head(self.options.weights, head)
        of_families = [by_family[name] for name in reader.layout.families]
        counted = reader.layout.counted(reader.present_mask)
        weights = over_providers(of_families, counted).astype(np.float32)

        def score(view: TileView) -> Scores:
            fused: Scores = weights @ view.channels()  # (B, C, N) -> (B, N)
            return fused

        return score
