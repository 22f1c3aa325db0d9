"""A query of a large gallery: find the few images that can be hits, then fuse those exactly.

Candidates are the union of every provider's nearest images, by its score and by what the bank makes
of that, and of the nearest of a plain sum of all providers. Every provider then
scores the whole union, and the fitted fusion ranks it by channels that ``closed_form.py`` makes
without whole rows. A fusion that is a weighted sum of standardised scores is one inner product over
all features side by side: its own direction finds its hits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafm_core.fusion.base import Fuser
from dafm_core.fusion.channels.banked import BankedFusion
from dafm_core.fusion.channels.view import ChannelReader, ViewScorer
from dafm_core.search.cells import IndexBank
from dafm_core.search.closed_form import FAMILIES, N_SAMPLE, N_TOP, ClosedView, Knowledge
from dafm_core.search.nearest import Direction, Nearest
from dafm_core.search.spaces import seen_direction
from dafm_core.store.gallery import Gallery

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Asked:
    """One query, encoded.

    Parameters
    ----------
    queries : mapping of str to ndarray of shape (D,)
        By provider.
    excluded : ndarray of int64
        Columns that are no candidates.
    shown : ndarray of shape (N,), bool, or None
        What a filter lets through.
    depth : int
        First images in each direction that are looked at.
    """

    queries: Mapping[str, Vector]
    excluded: NDArray[np.int64]
    shown: NDArray[np.bool_] | None
    depth: int


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
    nearest : mapping of str to Nearest
        By space.
    names : tuple of str
    reader : ChannelReader
    score : callable or None
        From a view to fused scores; None for a weighted sum.
    weights : ndarray of shape (K,)
        Of standardised scores: the fusion itself, or what finds its candidates.
    how : str
        How candidates are found, in words; nothing where that is exact.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        nearest: Mapping[str, Nearest],
        names: tuple[str, ...],
        reader: ChannelReader | None,
        score: ViewScorer | None,
        weights: NDArray[np.float64],
        how: str,
    ) -> None:
        self._knowledge = knowledge
        self._nearest = nearest
        self._names = names
        self._reader = reader
        self._score = score
        self._weights = weights
        self._how = how

    def rank(self, asked: Asked) -> Found:
        """Return what was ranked for a query."""
        union = self._union(asked)
        queries = {name: asked.queries[name] for name in self._names}
        rows = self._knowledge.rows(
            *(queries, union, asked.excluded),
            has_bank=self._has_bank,
            only_z=self._score is None,
            n_first=self._n_first(asked),
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

    def _n_first(self, asked: Asked) -> int:
        """Return how many of each provider's first images are surely among the candidates."""
        return 0 if asked.shown is not None else asked.depth // 4  # an engine misses some others

    def _union(self, asked: Asked) -> NDArray[np.int64]:
        """Return the images that a query looks at, ascending."""
        n = asked.depth + len(asked.excluded)
        raw: list[Direction] = [{name: asked.queries[name]} for name in self._names]
        if self._has_bank:  # a fusion goes by what the bank makes of scores
            seen = {name: self._seen(asked, name) for name in self._names}
            each: list[Direction] = [{name: vector} for name, vector in seen.items()]
            found = self._nearest["seen"]([seen, *each], n, asked.shown)
            n_raw = max(N_TOP, asked.depth // 4) + len(asked.excluded)
            found += self._nearest["raw"](raw, n_raw, asked.shown)
        else:
            found = self._nearest["raw"]([self._sum(asked), *raw], n, asked.shown)
        if asked.shown is not None and self._score is not None:
            # A context looks at the head of a whole row, whatever a filter hides.
            found += self._nearest["raw"](raw, N_TOP + len(asked.excluded))
        return _distinct(np.concatenate(found), asked.excluded)

    @property
    def _has_bank(self) -> bool:
        return self._reader is not None and self._reader.bank is not None

    def _sum(self, asked: Asked) -> Direction:
        """Return the direction of the weighted sum of standardised scores."""
        direction = {}
        for name, weight in zip(self._names, self._weights, strict=True):
            std = self._knowledge.row(name, asked.queries[name]).std
            direction[name] = asked.queries[name] * np.float32(weight / std if std else 0)
        return direction

    def _seen(self, asked: Asked, name: str) -> Vector:
        """Return the direction of one provider's scores as the bank sees them."""
        query = asked.queries[name]
        return seen_direction(query, self._knowledge.row(name, query))

    def _estimated(self, depth: int) -> tuple[str, ...]:
        notes = [
            f"ranked among the first {depth} images of each provider and of their sum{self._how}"
        ]
        if self._score is not None:
            notes.append(
                f"ranks and context beyond those were estimated from a sample of {N_SAMPLE} "
                "images; means, spreads and topics are exact"
            )
        return tuple(notes)


def two_stage(
    fuser: Fuser,
    gallery: Gallery,
    knowledge: Knowledge,
    nearest: Mapping[str, Nearest],
    how: str,
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
        return TwoStage(knowledge, nearest, gallery.names, None, None, weights, how)
    if not isinstance(fuser, BankedFusion):
        return None
    reader, scorers = fuser.readied(gallery, ("gallery",))
    if not FAMILIES.issuperset(reader.layout.families):
        return None
    if reader.bank is not None and not isinstance(reader.bank, IndexBank):
        return None
    equal = np.full(gallery.n_providers, 1 / gallery.n_providers)
    return TwoStage(knowledge, nearest, gallery.names, reader, scorers["gallery"], equal, how)


def _distinct(columns: NDArray[np.int64], excluded: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each column once that is not excluded, ascending; NumPy's own way is slower."""
    ordered = np.sort(columns)
    kept = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    for column in excluded:
        kept[
            np.searchsorted(ordered, column, "left") : np.searchsorted(ordered, column, "right")
        ] = False
    distinct: NDArray[np.int64] = ordered[kept]
    return distinct
