"""Answers from whole rows: every provider scores every image, and the fusion ranks them.

A fusion that scores candidate by candidate ranks the union of every provider's first images only,
where nobody asks for explanations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dafm_core.cases.breakdown import Breakdown, break_down
from dafm_core.contract.items import Query
from dafm_core.fusion.base import Tile
from dafm_core.ground.normalize import zscore_rows
from dafm_core.search.answers import Answer, Hit, Opinion
from dafm_core.search.asking import (
    ask_all,
    by_providers,
    reason,
    reasons_of,
    rows_of,
    vectors_of,
)
from dafm_core.search.hits import best, single
from dafm_core.search.live import LiveProvider
from dafm_core.search.prepared import Prepared
from dafm_core.search.requests import Request
from dafm_core.search.screened_rows import Rows, ScreenedRows


class WholeRows:
    """Answers queries of an index.

    Parameters
    ----------
    prepared : Prepared
    live : mapping of str to LiveProvider
    budget : int
        Images of the head that a pair provider is asked about.
    nearest : int
        First images of each provider that are ranked, see :class:`~search.Search`.
    """

    def __init__(
        self, prepared: Prepared, live: Mapping[str, LiveProvider], *, budget: int, nearest: int
    ) -> None:
        self._prepared = prepared
        self._index = prepared.index
        self._live = live
        self._budget = budget
        self._nearest = nearest

    def answer(self, requests: Sequence[Request], *, explain: bool) -> list[Answer]:
        """Return the answers, in order."""
        index = self._index
        queries = [request.query(index) for request in requests]
        shown = [request.shown(index) for request in requests]
        excluded = [r.excluded(q, index) for r, q in zip(requests, queries, strict=True)]
        depths = [max(self._nearest, 2 * request.k) for request in requests]
        quick = None if explain or any(s is not None for s in shown) else self._quick(max(depths))
        question = rows_of if quick is None else vectors_of
        found, failed = ask_all(self._live, requests, queries, question)
        answers: dict[int, Answer] = {}
        for names, members in by_providers(len(requests), found, failed).items():
            for i in members:
                own = {name: found[name][i] for name in names}
                why, used = reasons_of(failed, i), names
                rows = None
                if quick is not None:
                    rows = quick.rows(own, excluded[i], depths[i], requests[i].k)
                    tile = rows.tile
                else:
                    tile = np.stack(list(own.values()))[None]  # (1, K, N)
                    tile[0][:, excluded[i]] = -np.inf
                    tile, used, why = self._with_pairs(tile, names, queries[i], why)
                answers[i] = self._ranked(tile, used, requests[i], shown[i], why, explain, rows)
        return [answers[i] for i in range(len(requests))]

    def _quick(self, depth: int) -> ScreenedRows | None:
        """Return what gives rows quickly, once it is there and few images of them are ranked."""
        names = self._index.names
        lists = self._prepared.lists(names) if self._is_few(depth, names) else None
        return None if lists is None else lists.rows

    def _with_pairs(
        self, tile: Tile, names: tuple[str, ...], query: Query, reasons: dict[str, str]
    ) -> tuple[Tile, tuple[str, ...], dict[str, str]]:
        """Return a tile of one query with what pair providers say of its head."""
        pairs = [name for name, provider in self._live.items() if provider.is_pair]
        if not pairs or not self._budget:
            return tile, names, reasons
        fused = self._prepared.scorer(names)(tile)[0]
        head = best(fused, self._budget, self._index.ids)
        images = [self._index.refs[column] for column in head]
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
        rows: Rows | None,
    ) -> Answer:
        depth = max(self._nearest, 2 * request.k)
        few = not explain and self._is_few(depth, names)
        if few:
            hits, scores, n_scored = self._among_first(tile, names, shown, request.k, depth)
            opinions = self._plain_opinions(tile, hits, names, rows)
        else:
            fused = self._prepared.scorer(names)(tile)
            hits = best(_visible(fused[0], shown), request.k, self._index.ids)
            scores, n_scored = fused[0, hits], self._index.n_images
            opinions = self._opinions(tile, fused, hits, names, explain)
        return Answer(
            hits=tuple(
                Hit(
                    rank=rank,
                    image_id=self._index.ids[column],
                    score=float(score),
                    opinions=opinion,
                )
                for rank, (column, score, opinion) in enumerate(
                    zip(hits, scores, opinions, strict=True), start=1
                )
            ),
            singles={
                name: single(row, request.k, self._index.ids)
                for name, row in zip(names, _visible(tile[0], shown), strict=True)
            },
            left_out=dict(left_out),
            n_scored=n_scored,
            n_images=self._index.n_images,
            estimated=(
                *((f"ranked among the first {depth} images of each provider",) if few else ()),
                *((ScreenedRows.SAID,) if rows is not None else ()),
            ),
            notes=self._prepared.notes,
        )

    def _is_few(self, depth: int, names: tuple[str, ...]) -> bool:
        """Say whether each provider's first images are few, and can be ranked alone."""
        return depth * len(names) < self._index.n_images and self._prepared.lists(names) is not None

    def _among_first(
        self,
        tile: Tile,
        names: tuple[str, ...],
        shown: NDArray[np.bool_] | None,
        k: int,
        depth: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
        """Return the best of each provider's first images, their scores, among how many."""
        lists, score = self._prepared.lists(names), self._prepared.chosen_scorer(names)
        assert lists is not None  # for the same fusions as the other
        assert score is not None
        if shown is None:
            found = lists.best(tile, k, n_first=depth)
            kept = found.columns[0] >= 0
            return found.columns[0, kept], found.scores[0, kept], int(found.n_fused[0])
        at = self._index.n_images - depth
        first = np.unique(np.argpartition(_visible(tile[0], shown), at, axis=1)[:, at:])
        fused = score(tile, first[None])[0]
        hits = best(_visible(fused, shown[first]), k, self._index.ids, first)
        return first[hits], fused[hits], len(first)

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
            return self._plain_opinions(tile, hits, names, None)
        found: Breakdown = break_down(
            tile, fused, hits[None], self._prepared.scorers_without(names)
        )
        return [
            {name: Opinion(**found.at(0, depth, k)) for k, name in enumerate(names)}
            for depth in range(len(hits))
        ]

    @staticmethod
    def _plain_opinions(
        tile: Tile, hits: NDArray[np.int64], names: tuple[str, ...], rows: Rows | None
    ) -> list[dict[str, Opinion]]:
        """Return what each provider scores the hits."""
        scores = tile[0][:, hits]
        raw = scores.T.tolist()  # (n_hits, K)
        if rows is None:
            standing = zscore_rows(tile)[0][:, hits].T.tolist()
        else:
            standing = ((scores - rows.mean) / np.where(rows.std, rows.std, 1)).T.tolist()
        return [
            {
                name: Opinion.plain(_number(score), _number(place))
                for name, score, place in zip(names, scores, places, strict=True)
            }
            for scores, places in zip(raw, standing, strict=True)
        ]


def _visible(scores: NDArray[np.float32], shown: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    return scores if shown is None else np.where(shown, scores, np.float32(-np.inf))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
