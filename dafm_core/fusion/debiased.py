"""The label-free fusion: fixed weights of channels, and a bank of queries without targets.

How each channel is made is ``channels/view.py``'s; what the bank holds, ``channels/bank.py``'s.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Progress, Scores, TileScorer
from dafm_core.fusion.channels.bank import training_bank
from dafm_core.fusion.channels.banked import BankedFusion, tile_scorer
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.options import DebiasedOptions
from dafm_core.fusion.channels.view import ChannelReader, TileView, usable_families
from dafm_core.store.gallery import Gallery
from dafm_core.store.stack import SimilarityStack

logger = logging.getLogger(__name__)

EVIDENCE: Final = "restandardized"
"""Always made, because ranks and neighbours are those of the evidence, whatever its own weight."""


class DebiasedFusion(BankedFusion):
    """Sum of a few views of every provider's scores, with weights that no label has touched.

    A score says two things: how well a candidate fits this query, and how high the model scores
    that candidate whatever is asked. The second is a bias, and it differs from model to model. A
    bank of queries shows it without a single target. The views with a weight by default are the
    log rank of the score once the bias is removed (``ranks``), how few queries of the bank score
    the candidate higher (``reverse``), what the query has in common with others (``topics``), and
    the scores of the candidate's nearest images (``neighbours``).

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
    Where the default weights (0.7, 0.5, 0.5, 0.33) come from: linear weights shared by all
    providers were fitted on one half of CIRR val (four captions models; ranks 0.68, reverse 0.46,
    topics 0.45, neighbours 0.33) and on ``scenes`` (four toy models), and rounded. The rounded
    numbers were then looked at on both. So results on that half of CIRR val and on ``scenes`` are
    no held-out results, though many weights nearby give the same. On any other data, nothing of
    it has been used.

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

    def _scorer(self, gallery: Gallery) -> TileScorer:
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
        weights = self._weights(reader)

        def score(view: TileView) -> Scores:
            fused: Scores = weights @ view.channels()  # (B, C, N) -> (B, N)
            return fused

        return tile_scorer(reader, score)

    def _families_for(self, gallery: Gallery) -> tuple[str, ...]:
        """Return the families that have a weight and can be made of a gallery, and the evidence."""
        by_family = self.options.flat()
        wanted = tuple(name for name in by_family if by_family[name] or name == EVIDENCE)
        return usable_families(gallery, wanted)

    def _weights(self, reader: ChannelReader) -> NDArray[np.float32]:
        """Return the weight of each channel, (C,): a mean over the providers that are there."""
        by_family = [self.options.flat()[name] for name in reader.layout.families]
        weights = np.repeat(by_family, len(reader.layout.providers)) / len(reader.present)
        return weights.astype(np.float32)
