"""Live queries: every provider scores the images, the fitted fusion ranks them.

``Search`` is what a command, a service and a page share. It may be used by many threads at once.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from dafm_core.cases.breakdown import Breakdown, break_down, scorers_without
from dafm_core.catalog import PluginCatalog
from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Provider
from dafm_core.errors import DafmError, OptionError, ProviderError
from dafm_core.fusion.base import Fuser, Tile, TileScorer
from dafm_core.fusion.channels.banked import BankedFusion
from dafm_core.fusion.channels.chosen import ChosenScorer, chosen_scorer
from dafm_core.ground.normalize import zscore_rows
from dafm_core.ground.printable import first_line
from dafm_core.search.answers import Answer, Hit, Opinion
from dafm_core.search.index import GalleryIndex
from dafm_core.search.live import LiveProvider, load_providers
from dafm_core.search.requests import Filter, Reference, Request
from dafm_core.store.gallery import Gallery

T = TypeVar("T")

logger = logging.getLogger(__name__)

_ONE: Final = (str, Path, ImageRef)
BUDGET: Final = 50
"""Images of the head that a pair provider is asked about, by default."""
NEAREST: Final = 500
"""First images of each provider that the fusion ranks, where a gallery has many more."""
BATCH: Final = 32
"""Queries scored at a time."""
TILE_BYTES: Final = 64 << 20
"""Memory of the raw scores that are fused at a time."""


class Search:
    """Answers queries over an index with a fitted fusion.

    Parameters
    ----------
    index : GalleryIndex
    fuser : Fuser
        Fitted on the index's providers, or on more where it can do without some.
    providers : mapping of str to Provider, optional
        Objects to use instead of loading what the index names.
    settings : mapping of str to mapping of str, optional
        Options of providers that replace those of the index, e.g. paths on this machine.
    budget : int, default=50
        Images of each query's head that a pair provider is asked about.
    nearest : int, default=500
        Where hits are not explained and the fusion scores candidate by candidate, it ranks the
        union of each provider's first ``nearest`` images, with the very scores that they have in
        whole rows; an image outside it is no hit.

    Raises
    ------
    AlignmentError
        If the fuser was fitted on other providers or other models, or a provider is another model
        than the one that made the index; says which, and what to do.
    """

    def __init__(
        self,
        index: GalleryIndex,
        fuser: Fuser,
        *,
        providers: Mapping[str, Provider] | None = None,
        settings: Mapping[str, Mapping[str, str]] | None = None,
        catalog: PluginCatalog | None = None,
        budget: int = BUDGET,
        nearest: int = NEAREST,
    ) -> None:
        if nearest < 1 or budget < 0:
            raise OptionError(
                f"search: expected nearest >= 1 and budget >= 0, got {nearest} and {budget}."
            )
        self.index = index
        self.budget = budget
        self.nearest = nearest
        self.fuser = _with_bank(fuser, index)
        self._scorers: dict[tuple[str, ...], TileScorer] = {}
        self._without: dict[tuple[str, ...], list[TileScorer]] = {}
        self._chosen: dict[tuple[str, ...], ChosenScorer | None] = {}
        self._lock = threading.Lock()
        self._scorer(index.names)  # refuses, before anything is loaded, what does not fit
        self._live = load_providers(index, providers, settings=settings, catalog=catalog)

    def query(
        self,
        references: Reference | Sequence[Reference] = (),
        text: str = "",
        k: int = 10,
        *,
        filter: Filter | None = None,  # noqa: A002  # the word of the field
        exclude: Collection[str] | None = None,
        vectors: Mapping[str, NDArray[Any]] | None = None,
        explain: bool = True,
    ) -> Answer:
        """Return the best images for references and a text; see :class:`Request`.

        Parameters
        ----------
        explain : bool, default=True
            Whether hits say where they would stand without each provider, which costs about as
            much again for each.

        Raises
        ------
        DafmError
            See :meth:`Request.query` and :meth:`Request.shown`; ProviderError where no provider
            could answer, or the fusion cannot do without one that could not.
        """
        request = Request(
            references=(references,) if isinstance(references, _ONE) else tuple(references),
            text=text,
            k=k,
            filter=filter,
            exclude=exclude,
            vectors=vectors or {},
        )
        return self.batch([request], explain=explain)[0]

    def batch(self, requests: Sequence[Request], *, explain: bool = False) -> list[Answer]:
        """Return the answers to several queries, which are encoded and scored together.

        Errors as :meth:`query`, at the first query that has one.
        """
        answers: list[Answer] = []
        rows = max(1, TILE_BYTES // (4 * len(self.index.names) * self.index.n_images))
        size = min(BATCH, rows)
        for start in range(0, len(requests), size):
            answers += self._answer(requests[start : start + size], explain)
        return answers

    def _answer(self, requests: Sequence[Request], explain: bool) -> list[Answer]:
        started = time.perf_counter()
        index = self.index
        queries = [request.query(index) for request in requests]
        shown = [request.shown(index) for request in requests]
        excluded = [r.excluded(q, index) for r, q in zip(requests, queries, strict=True)]
        rows, failed = self._rows(requests, queries)
        groups: dict[tuple[str, ...], list[int]] = {}
        for i in range(len(requests)):
            names = tuple(n for n in index.names if n in rows and i not in failed.get(n, {}))
            groups.setdefault(names, []).append(i)
        answers: dict[int, Answer] = {}
        for names, members in groups.items():
            reasons = [{n: why[i] for n, why in failed.items() if i in why} for i in members]
            if not names:
                raise ProviderError(_nobody(reasons[0]))
            tile = np.stack([rows[name][members] for name in names], axis=1)  # (B, K, N)
            for b, i in enumerate(members):
                tile[b][:, excluded[i]] = -np.inf
            for b, i in enumerate(members):
                one, used, why = self._with_pairs(tile[b : b + 1], names, queries[i], reasons[b])
                answers[i] = self._ranked(one, used, requests[i], shown[i], why, explain)
        seconds = (time.perf_counter() - started) / len(requests)
        return [replace(answers[i], seconds=seconds) for i in range(len(requests))]

    def _rows(
        self, requests: Sequence[Request], queries: Sequence[Query]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[int, str]]]:
        """Return rows of every image by provider, and why a provider has none for a query."""
        rows: dict[str, NDArray[np.float32]] = {}
        failed: dict[str, dict[int, str]] = {}
        for name, provider in self._live.items():
            if provider.is_pair:
                continue
            refused = {i: why for i, q in enumerate(queries) if (why := provider.refuse(q))}
            asked = [i for i in range(len(queries)) if i not in refused]
            failed[name] = refused
            if not asked:
                continue
            found = np.zeros((len(queries), self.index.n_images), np.float32)
            try:
                found[asked] = _scored(provider, requests, queries, asked)
            except (Exception, SystemExit):  # a model may raise anything
                failed[name] |= _scored_apart(provider, requests, queries, asked, found)
            rows[name] = found
        return rows, failed

    def _with_pairs(
        self, tile: Tile, names: tuple[str, ...], query: Query, reasons: dict[str, str]
    ) -> tuple[Tile, tuple[str, ...], dict[str, str]]:
        """Return a tile of one query with what pair providers say of its head."""
        pairs = [name for name, provider in self._live.items() if provider.is_pair]
        if not pairs or not self.budget:
            return tile, names, reasons
        fused = self._scorer(names)(tile)[0]
        head = self._best(fused, self.budget)
        images = [self.index.refs[column] for column in head]
        found, reasons = dict(zip(names, tile[0], strict=True)), dict(reasons)
        for name in pairs:
            row = np.where(np.isneginf(tile[0, 0]), np.float32(-np.inf), np.float32(np.nan))
            try:
                row[head] = self._live[name].score_pairs(query, images)
                found[name] = row
            except (Exception, SystemExit) as error:
                reasons[name] = _reason(error)
        used = tuple(sorted(found))
        return np.stack([found[name] for name in used])[None], used, reasons

    def _ranked(
        self,
        tile: Tile,
        names: tuple[str, ...],
        request: Request,
        shown: NDArray[np.bool_] | None,
        left_out: Mapping[str, str],
        explain: bool,
    ) -> Answer:
        union = None if explain else self._union(tile, names, shown, request.k)
        fused = self._fused(tile, names, union)
        visible = fused[0] if shown is None else np.where(shown, fused[0], np.float32(-np.inf))
        hits = self._best(visible, request.k)
        opinions = self._opinions(tile, fused, hits, names, explain)
        return Answer(
            hits=tuple(
                Hit(
                    rank=rank,
                    image_id=self.index.ids[column],
                    score=float(fused[0, column]),
                    opinions=opinion,
                )
                for rank, (column, opinion) in enumerate(zip(hits, opinions, strict=True), start=1)
            ),
            singles={
                name: self._single(tile[0, k], shown, request.k) for k, name in enumerate(names)
            },
            left_out=dict(left_out),
            n_scored=self.index.n_images if union is None else len(union),
            n_images=self.index.n_images,
            estimated=() if union is None else (self._window_note(request.k),),
            notes=self.index.manifest.notes,
        )

    def _union(
        self,
        tile: Tile,
        names: tuple[str, ...],
        shown: NDArray[np.bool_] | None,
        k: int,
    ) -> NDArray[np.int64] | None:
        """Return every provider's first images, ascending; None where all are to be ranked."""
        depth, n_images = self._depth(k), self.index.n_images
        if depth * len(names) >= n_images or self._chosen_scorer(names) is None:
            return None
        rows = tile[0] if shown is None else np.where(shown, tile[0], np.float32(-np.inf))
        first = np.argpartition(rows, n_images - depth, axis=1)[:, n_images - depth :]
        return np.unique(first)

    def _depth(self, k: int) -> int:
        return max(self.nearest, 2 * k)

    def _window_note(self, k: int) -> str:
        return f"ranked among the first {self._depth(k)} images of each provider"

    def _fused(
        self, tile: Tile, names: tuple[str, ...], union: NDArray[np.int64] | None
    ) -> NDArray[np.float32]:
        """Return fused scores, (1, N); -inf outside the union."""
        score = None if union is None else self._chosen_scorer(names)
        if union is None or score is None:
            return self._scorer(names)(tile)
        fused = np.full((1, tile.shape[2]), -np.inf, np.float32)
        fused[0, union] = score(tile, union[None])[0]
        return fused

    def _single(
        self, row: NDArray[np.float32], shown: NDArray[np.bool_] | None, k: int
    ) -> tuple[Hit, ...]:
        known = np.isfinite(row) if shown is None else np.isfinite(row) & shown
        best = self._best(np.where(known, row, np.float32(-np.inf)), k)
        return tuple(
            Hit(rank=rank, image_id=self.index.ids[column], score=float(row[column]))
            for rank, column in enumerate(best, start=1)
        )

    def _opinions(
        self,
        tile: Tile,
        fused: NDArray[np.float32],
        hits: NDArray[np.int64],
        names: tuple[str, ...],
        explain: bool,
    ) -> list[dict[str, Opinion]]:
        if not len(hits):
            return []
        if not explain or len(names) == 1:
            standing = zscore_rows(tile)[0]
            return [
                {
                    name: Opinion(
                        score=_number(tile[0, k, column]),
                        standardised=_number(standing[k, column]),
                    )
                    for k, name in enumerate(names)
                }
                for column in hits
            ]
        found: Breakdown = break_down(tile, fused, hits[None], self._scorers_without(names))
        return [
            {name: Opinion(**found.at(0, depth, k)) for k, name in enumerate(names)}
            for depth in range(len(hits))
        ]

    def _best(self, scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return the columns of the k best scores above -inf; ties by a hash of the id."""
        k = min(k, len(scores))
        bar = np.partition(scores, -k)[-k]
        near = np.flatnonzero((scores >= bar) & (scores > -np.inf))
        hashes = [hashlib.sha256(self.index.ids[column].encode()).digest() for column in near]
        order = sorted(range(len(near)), key=lambda i: (-scores[near[i]], hashes[i]))
        return near[order[:k]]

    def _scorer(self, names: tuple[str, ...]) -> TileScorer:
        return self._kept(self._scorers, names, self.fuser.scorer)

    def _scorers_without(self, names: tuple[str, ...]) -> list[TileScorer]:
        return self._kept(self._without, names, lambda g: scorers_without(self.fuser, g))

    def _chosen_scorer(self, names: tuple[str, ...]) -> ChosenScorer | None:
        return self._kept(self._chosen, names, lambda g: chosen_scorer(self.fuser, g))

    def _kept(
        self, kept: dict[tuple[str, ...], T], names: tuple[str, ...], make: Callable[[Gallery], T]
    ) -> T:
        """Return what a set of providers needs, made once."""
        with self._lock:
            if names not in kept:
                kept[names] = make(self.index.gallery.select(names))
            return kept[names]


def _with_bank(fuser: Fuser, index: GalleryIndex) -> Fuser:
    """Return the fusion with what the index's bank says of its images.

    A bank of its own that knows all of them, as on the gallery it was trained on, is kept.
    """
    bank = index.bank
    if bank is None or not isinstance(fuser, BankedFusion) or not fuser.is_fitted:
        return fuser
    own = None if index.manifest.bank["given"] else fuser.bank_
    if own is not None and own.covers(index.gallery):
        return fuser
    return fuser.with_query_bank(bank, index.bank_ids, index.gallery)


def _scored(
    provider: LiveProvider,
    requests: Sequence[Request],
    queries: Sequence[Query],
    asked: Sequence[int],
) -> NDArray[np.float32]:
    """Return a provider's rows of some of the queries, (len(asked), N)."""
    vectors = [requests[i].vectors for i in asked]
    return provider.rows(provider.encode([queries[i] for i in asked], vectors))


def _scored_apart(
    provider: LiveProvider,
    requests: Sequence[Request],
    queries: Sequence[Query],
    asked: Sequence[int],
    found: NDArray[np.float32],
) -> dict[int, str]:
    """Score query by query, so that one that breaks a model costs only itself; say which did."""
    failed = {}
    for i in asked:
        try:
            found[i] = _scored(provider, requests, queries, [i])[0]
        except (Exception, SystemExit) as error:
            failed[i] = _reason(error)
            logger.warning("provider %r: left out: %s", provider.entry.name, failed[i])
    return failed


def _reason(error: BaseException) -> str:
    if isinstance(error, DafmError):
        return str(error)
    words = first_line(error)
    return f"raised {type(error).__name__}: {words}"


def _nobody(reasons: Mapping[str, str]) -> str:
    said = "; ".join(f"{name}: {why}" for name, why in sorted(reasons.items()))
    return f"query: expected a provider that can answer it, got none ({said})."


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
