"""Live queries: every provider scores the images, the fitted fusion ranks them.

``Search`` is what a command, a service and a page share. It may be used by many threads at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from dafm_core.cases.breakdown import Breakdown, break_down, scorers_without
from dafm_core.catalog import PluginCatalog
from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Provider
from dafm_core.errors import OptionError, ProviderError
from dafm_core.fusion.base import Fuser, Tile, TileScorer
from dafm_core.fusion.channels.banked import BankedFusion
from dafm_core.fusion.channels.chosen import ChosenScorer, chosen_scorer
from dafm_core.ground.normalize import zscore_rows
from dafm_core.search.answers import Answer, Hit, Opinion
from dafm_core.search.asking import ask_all, reason, rows_of, vectors_of
from dafm_core.search.closed_form import Knowledge
from dafm_core.search.engines import open_engine
from dafm_core.search.hits import best, single
from dafm_core.search.index import GalleryIndex
from dafm_core.search.live import load_providers
from dafm_core.search.nearest import Nearest
from dafm_core.search.requests import Filter, Reference, Request
from dafm_core.search.two_stage import Asked, Found, TwoStage, two_stage
from dafm_core.store.gallery import Gallery

T = TypeVar("T")

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
        self._stages: dict[tuple[str, ...], TwoStage | None] = {}
        self._engine, self._engine_note = open_engine(index)

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
        in_two_stages = not explain and self._in_two_stages(max((r.k for r in requests), default=1))
        rows = max(1, TILE_BYTES // (4 * len(self.index.names) * self.index.n_images))
        size = BATCH if in_two_stages else min(BATCH, rows)
        answer = self._answer_in_two_stages if in_two_stages else partial(self._answer, explain)
        for start in range(0, len(requests), size):
            started = time.perf_counter()
            batch = answer(requests[start : start + size])
            seconds = (time.perf_counter() - started) / len(batch)
            answers += [replace(one, seconds=seconds) for one in batch]
        return answers

    def _answer(self, explain: bool, requests: Sequence[Request]) -> list[Answer]:
        """Answer from whole rows."""
        index = self.index
        queries = [request.query(index) for request in requests]
        shown = [request.shown(index) for request in requests]
        excluded = [r.excluded(q, index) for r, q in zip(requests, queries, strict=True)]
        rows, failed = ask_all(self._live, requests, queries, rows_of)
        answers: dict[int, Answer] = {}
        for names, members in _groups(len(requests), rows, failed).items():
            tile = np.stack([rows[name][members] for name in names], axis=1)  # (B, K, N)
            for b, i in enumerate(members):
                tile[b][:, excluded[i]] = -np.inf
                why = _reasons(failed, i)
                one, used, why = self._with_pairs(tile[b : b + 1], names, queries[i], why)
                answers[i] = self._ranked(one, used, requests[i], shown[i], why, explain)
        return [answers[i] for i in range(len(requests))]

    def _answer_in_two_stages(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer from the images that can be hits, without whole rows."""
        index = self.index
        queries = [request.query(index) for request in requests]
        vectors, failed = ask_all(self._live, requests, queries, vectors_of)
        answers: dict[int, Answer] = {}
        for names, members in _groups(len(requests), vectors, failed).items():
            stage = self._stage(names)
            assert stage is not None  # it is there with all providers, and so without some
            asked = [
                Asked(
                    queries={name: vectors[name][i] for name in names},
                    excluded=requests[i].excluded(queries[i], index),
                    shown=requests[i].shown(index),
                    k=requests[i].k,
                )
                for i in members
            ]
            depth = self._depth(max(requests[i].k for i in members))
            for i, found in zip(members, stage.rank(asked, depth), strict=True):
                answers[i] = self._listed(names, found, requests[i].k, _reasons(failed, i))
        return [answers[i] for i in range(len(requests))]

    def _in_two_stages(self, k: int) -> bool:
        """Say whether queries are answered without whole rows: few images of a large gallery."""
        covers = (len(self.index.names) + 1) * self._depth(k) >= self.index.n_images
        return not covers and self._stage(self.index.names) is not None

    def _listed(
        self, names: tuple[str, ...], found: Found, k: int, left_out: Mapping[str, str]
    ) -> Answer:
        """Return the answer of a ranking of few images."""
        ids, columns = self.index.ids, found.columns
        hits = []
        for rank, place in enumerate(best(found.fused, k, ids, columns), start=1):
            opinions = {
                name: Opinion(
                    score=float(found.scores[n, place]),
                    standardised=float(found.standardised[n, place]),
                )
                for n, name in enumerate(names)
            }
            score = float(found.fused[place])
            hits.append(
                Hit(rank=rank, image_id=ids[columns[place]], score=score, opinions=opinions)
            )
        return Answer(
            hits=tuple(hits),
            singles={
                name: single(found.scores[n], k, ids, columns) for n, name in enumerate(names)
            },
            left_out=dict(left_out),
            n_scored=len(columns),
            n_images=self.index.n_images,
            estimated=found.estimated,
            notes=self._notes,
        )

    @property
    def _notes(self) -> tuple[str, ...]:
        engine = (self._engine_note,) if self._engine_note else ()
        return (*self.index.manifest.notes, *engine)

    def _with_pairs(
        self, tile: Tile, names: tuple[str, ...], query: Query, reasons: dict[str, str]
    ) -> tuple[Tile, tuple[str, ...], dict[str, str]]:
        """Return a tile of one query with what pair providers say of its head."""
        pairs = [name for name, provider in self._live.items() if provider.is_pair]
        if not pairs or not self.budget:
            return tile, names, reasons
        fused = self._scorer(names)(tile)[0]
        head = best(fused, self.budget, self.index.ids)
        images = [self.index.refs[column] for column in head]
        found, reasons = dict(zip(names, tile[0], strict=True)), dict(reasons)
        for name in pairs:
            row = np.where(np.isneginf(tile[0, 0]), np.float32(-np.inf), np.float32(np.nan))
            try:
                row[head] = self._live[name].score_pairs(query, images)
                found[name] = row
            except (Exception, SystemExit) as error:
                reasons[name] = reason(error)
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
        hits = best(_visible(fused[0], shown), request.k, self.index.ids)
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
                name: single(
                    tile[0, k]
                    if shown is None
                    else np.where(shown, tile[0, k], np.float32(-np.inf)),
                    request.k,
                    self.index.ids,
                )
                for k, name in enumerate(names)
            },
            left_out=dict(left_out),
            n_scored=self.index.n_images if union is None else len(union),
            n_images=self.index.n_images,
            estimated=() if union is None else (self._window_note(request.k),),
            notes=self._notes,
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
        rows = _visible(tile[0], shown)
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

    def _scorer(self, names: tuple[str, ...]) -> TileScorer:
        return self._kept(self._scorers, names, self.fuser.scorer)

    def _scorers_without(self, names: tuple[str, ...]) -> list[TileScorer]:
        return self._kept(self._without, names, lambda g: scorers_without(self.fuser, g))

    def _chosen_scorer(self, names: tuple[str, ...]) -> ChosenScorer | None:
        return self._kept(self._chosen, names, lambda g: chosen_scorer(self.fuser, g))

    def _stage(self, names: tuple[str, ...]) -> TwoStage | None:
        """Return what answers in two stages, or None where whole rows are needed."""
        if self._nearest is None:
            return None
        self._scorer(names)  # refuses what the fusion cannot do without
        nearest, knowledge = self._nearest
        return self._kept(
            self._stages, names, lambda g: two_stage(self.fuser, g, knowledge, nearest, self._how)
        )

    @cached_property
    def _nearest(self) -> tuple[Nearest, Knowledge] | None:
        knowledge = Knowledge.of(self.index)
        if knowledge is None:
            return None
        return Nearest(knowledge.features, self._engine), knowledge

    @property
    def _how(self) -> str:
        if self._engine is None:
            return ""
        facts = self._engine.facts
        share, of = facts["recall"], facts["kind"]
        return (
            f", found by the engine {of}, which found {share:.3f} of the first 100 when it was made"
        )

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


def _groups(
    n: int, found: Mapping[str, NDArray[np.float32]], failed: Mapping[str, Mapping[int, str]]
) -> dict[tuple[str, ...], list[int]]:
    """Return queries by the providers that can answer them.

    Raises
    ------
    ProviderError
        If nobody can answer one.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for i in range(n):
        names = tuple(name for name in sorted(found) if i not in failed[name])
        if not names:
            said = "; ".join(f"{name}: {why}" for name, why in sorted(_reasons(failed, i).items()))
            raise ProviderError(
                f"query: expected a provider that can answer it, got none ({said})."
            )
        groups.setdefault(names, []).append(i)
    return groups


def _visible(scores: NDArray[np.float32], shown: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    return scores if shown is None else np.where(shown, scores, np.float32(-np.inf))


def _reasons(failed: Mapping[str, Mapping[int, str]], i: int) -> dict[str, str]:
    return {name: why[i] for name, why in failed.items() if i in why}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
