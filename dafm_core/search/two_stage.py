"""A query of a large gallery: find the few images that can be hits, then fuse those exactly.

Candidates are found by ``finding.py``. Every provider then scores all of them, and the fitted
fusion ranks them by channels that ``closed_form.py`` makes without whole rows. A fusion that is a
weighted sum of standardised scores is one inner product over all features side by side: the sum
finds its hits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Fuser
from dafm_core.fusion.channels.banked import BankedFusion
from dafm_core.fusion.channels.view import ChannelReader, ViewScorer
from dafm_core.search.cells import IndexBank
from dafm_core.search.closed_form import FAMILIES, ClosedView, Knowledge
from dafm_core.search.finding import Asked, Finder, Wanted
from dafm_core.store.gallery import Gallery

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Found:
    """The images that were ranked.

    Parameters
    ----------
    columns : ndarray of shape (W,), int64
    fused : ndarray of shape (W,), float32
    scores, standardised : ndarray of shape (K, W), float32
    estimated : tuple of str
        What was estimated, in words.
    """

    columns: NDArray[np.int64]
    fused: Vector
    scores: NDArray[np.float32]
    standardised: NDArray[np.float32]
    estimated: tuple[str, ...]


class TwoStage:
    """Ranks queries of some providers with a fusion; made by :func:`two_stage`.

    Parameters
    ----------
    knowledge : Knowledge
    finder : Finder
    names : tuple of str
    reader : ChannelReader
    score : callable or None
        From a view to fused scores; None for a weighted sum.
    weights : ndarray of shape (K,)
        Of standardised scores: the fusion itself, or what finds its candidates.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        finder: Finder,
        names: tuple[str, ...],
        reader: ChannelReader | None,
        score: ViewScorer | None,
        weights: NDArray[np.float64],
    ) -> None:
        self._knowledge = knowledge
        self._finder = finder
        self._names = names
        self._reader = reader
        self._score = score
        self._weights = weights
        has_bank = reader is not None and reader.bank is not None
        self._wanted = Wanted(names, weights, has_bank, whole=score is not None)

    def rank(self, asked: Asked) -> Found:
        """Return what was ranked for a query."""
        found = self._finder(asked, self._wanted)
        union = found.columns
        queries = {name: asked.queries[name] for name in self._names}
        rows = self._knowledge.rows(
            *(queries, union, asked.excluded),
            has_bank=self._wanted.has_bank,
            only_z=self._score is None,
            n_first=found.n_first,
            every=found.every,
        )
        standardised = np.stack([row.z for row in rows])
        if self._reader is None or self._score is None:
            fused = self._weights.astype(np.float32) @ standardised
        else:
            fused = self._score(ClosedView(self._reader, rows))[0]
        shown = np.arange(len(union))
        if asked.shown is not None:
            shown = np.flatnonzero(asked.shown[union])
        return Found(
            columns=union[shown],
            fused=fused[shown],
            scores=np.stack([row.scores for row in rows])[:, shown],
            standardised=standardised[:, shown],
            estimated=self._estimated(asked.depth),
        )

    def _estimated(self, depth: int) -> tuple[str, ...]:
        notes = [
            f"ranked among the first {depth} images of each provider and of their sum"
            + self._finder.how
        ]
        if self._score is not None:
            notes.append(
                f"ranks and context beyond those were estimated {self._finder.others}; means, "
                "spreads and topics are exact"
            )
        return tuple(notes)


def two_stage(
    fuser: Fuser,
    gallery: Gallery,
    knowledge: Knowledge,
    finder: Finder,
) -> TwoStage | None:
    """Return what ranks queries in two stages, or None for a fusion that needs whole rows.

    Parameters
    ----------
    fuser : Fuser
        Fits the gallery, and has its bank.
    gallery : Gallery
        Of the providers that answer.
    """
    weights = fuser.row_weights(gallery)
    if weights is not None:
        return TwoStage(knowledge, finder, gallery.names, None, None, weights)
    if not isinstance(fuser, BankedFusion):
        return None
    reader, scorers = fuser.readied(gallery, ("gallery",))
    if not FAMILIES.issuperset(reader.layout.families):
        return None
    if reader.bank is not None and not isinstance(reader.bank, IndexBank):
        return None
    equal = np.full(gallery.n_providers, 1 / gallery.n_providers)
    return TwoStage(knowledge, finder, gallery.names, reader, scorers["gallery"], equal)
