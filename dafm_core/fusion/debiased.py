"""The label-free fusion: fixed weights of channels, and a bank of queries without targets.

How each channel is made is ``channels/view.py``'s; what the bank holds, ``channels/bank.py``'s.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from dafm_core.fusion.base import HeadScorer, Scores, TileScorer
from dafm_core.fusion.channels.bank import training_bank
from dafm_core.fusion.channels.banked import BankedFusion, view_scorer
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.options import DebiasedOptions
from dafm_core.fusion.channels.shared import of_head
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
    Before ``fit``, and on a gallery that the bank does not know, it goes on without a bank, with a
    warning: then ``reverse`` and ``topics`` are left out, and ranks are those of the plain scores.

    Parameters
    ----------
    **options
        Weights by channel family, see :class:`~dafm_core.fusion.channels.options.DebiasedOptions`;
        dimensionless, of either sign.

    Attributes
    ----------
    options : DebiasedOptions
    bank_ : QueryBank
    families_ : tuple of str
        Views in use; neighbours are left out where no provider knows any.

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

    def __init__(self, **options: Any) -> None:
        self.options = DebiasedOptions.of(options)

    def params(self) -> dict[str, Any]:
        """Return every weight by channel family."""
        return self.options.flat()

    def _fit(
        self, stack: SimilarityStack, *, bank: SimilarityStack | None, progress: Progress | None
    ) -> None:
        self.families_ = self._families_for(stack.gallery)
        self.bank_ = training_bank(stack, self.families_, bank)
        if bank is None:  # a query in its own bank pushes up the very candidates it asks for
            self.record_ = replace(self.record_, query_ids=frozenset(stack.query_ids))

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

    def _families_for(self, gallery: Gallery) -> tuple[str, ...]:
        """Return the families that have a weight and can be made of a gallery, and the evidence."""
        by_family = self.options.flat()
        wanted = tuple(name for name in by_family if by_family[name] or name == EVIDENCE)
        return usable_families(gallery, wanted)

    def _weighted(self, reader: ChannelReader, head: Head) -> ViewScorer:
        """Return the weighted sum of channels: a mean over the providers that are there."""
        by_family = of_head(self.options.flat(), head)
        weights = np.repeat(
            [by_family[name] for name in reader.layout.families], len(reader.layout.providers)
        )
        weights = (weights / len(reader.present)).astype(np.float32)

        def score(view: TileView) -> Scores:
            fused: Scores = weights @ view.channels()  # (B, C, N) -> (B, N)
            return fused

        return score
