"""Single queries: what each model and each fusion put first, and where the target stands.

Why a hit stands where it does is ``breakdown.py``'s; how cases look on a page, ``reporting``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.breakdown import Breakdown, break_down
from dafm_core.datasets.base import Dataset
from dafm_core.errors import OptionError, closest
from dafm_core.evaluation import refuse_fitted
from dafm_core.fusion.base import Fuser, Tile, TileScorer
from dafm_core.metrics.ranking import rank_targets
from dafm_core.metrics.spec import parse_metrics
from dafm_core.metrics.truth import Truth
from dafm_core.ordering import best_first, tie_places
from dafm_core.query_types import query_types
from dafm_core.stacking import SimilarityStack

Outcome = Literal["solved", "rescued", "broke", "missed", "failed"]
OUTCOMES: Final[dict[Outcome, str]] = {
    "rescued": "the fusion finds the target, the best single model does not",
    "broke": "the best single model finds the target, the fusion does not",
    "missed": "another model finds the target; the best single model and the fusion do not",
    "failed": "nobody finds the target",
    "solved": "the fusion and the best single model both find the target",
}
"""Every query has exactly one; to find is to rank among the first ``depth``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cases:
    """Queries with what every column (provider or fuser) made of them.

    Parameters
    ----------
    protocol : str
    providers, fusers : tuple of str
        The columns; names are distinct.
    best_single : str
        The provider with the best headline metric on these queries.
    depth : int
        Hits kept per column.
    queries : polars.DataFrame
        ``QUERY_SCHEMA``, one row per case.
    gallery_ids : tuple of str
    ranks : mapping of str to ndarray of shape (n_queries,), float64
        1-based expected rank of the first target in each column; inf where none is ranked.
    hits : mapping of str to ndarray of shape (n_queries, depth), int64
        Gallery positions, best first, ties by hash; -1 where there are fewer candidates.
    breakdowns : mapping of str to Breakdown
        One per fuser.
    """

    protocol: str
    providers: tuple[str, ...]
    fusers: tuple[str, ...]
    best_single: str
    depth: int
    queries: pl.DataFrame = field(repr=False)
    gallery_ids: tuple[str, ...] = field(repr=False)
    ranks: Mapping[str, NDArray[np.float64]] = field(repr=False)
    hits: Mapping[str, NDArray[np.int64]] = field(repr=False)
    breakdowns: Mapping[str, Breakdown] = field(repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """Providers, then fusers."""
        return self.providers + self.fusers

    def outcomes(self, fuser: str) -> NDArray[np.str_]:
        """Return the :data:`OUTCOMES` of each query under one fuser, (n_queries,)."""
        found = {name: rank <= self.depth for name, rank in self.ranks.items()}
        single, fused = found[self.best_single], found[self._fuser(fuser)]
        someone = np.logical_or.reduce([found[name] for name in self.providers])
        conditions = [single & fused, fused, single, someone]
        return np.select(conditions, ["solved", "rescued", "broke", "missed"], "failed")

    def frame(self, fuser: str) -> pl.DataFrame:
        """Return one row per query: id, text, outcome, the rank in every column, and ``change``.

        ``change`` counts how many times the fusion halves (or, where negative, doubles) the rank
        that the best single model gives the target.
        """
        single, fused = self.ranks[self.best_single], self.ranks[self._fuser(fuser)]
        ranked = np.isfinite(single) & np.isfinite(fused)
        change = np.log2(np.divide(single, fused, out=np.ones(len(single)), where=ranked))
        return self.queries.select("query_id", "reference", "text", "group").with_columns(
            pl.Series("outcome", self.outcomes(fuser), dtype=pl.String),
            pl.Series("change", change),
            *(pl.Series(f"rank {name}", self.ranks[name]) for name in self.columns),
        )

    def regressions(self, fuser: str) -> pl.DataFrame:
        """Return the frame of the queries the fusion broke, the worst first."""
        broken = self.frame(fuser).filter(pl.col("outcome") == "broke")
        return broken.sort("change", "query_id")

    def find(
        self,
        fuser: str,
        *,
        outcome: str | None = None,
        query_type: str | None = None,
        text: str | None = None,
        limit: int | None = None,
    ) -> Self:
        """Return the cases that fit every filter given, the biggest change of rank first.

        Parameters
        ----------
        outcome : str, optional
            One of :data:`OUTCOMES`.
        query_type : str, optional
            ``negation``, ``count``, ``colour``, ``position`` or ``other``.
        text : str, optional
            Words the text contains, in any case.
        limit : int, optional

        Raises
        ------
        OptionError
            For an unknown fuser, outcome or query type, with the closest match.
        """
        frame = self.frame(fuser)
        keep = np.ones(frame.height, bool)
        if outcome is not None:
            if outcome not in OUTCOMES:
                raise OptionError(f"cases: outcome {outcome!r}{closest(outcome, OUTCOMES)}")
            keep &= frame["outcome"].to_numpy() == outcome
        if query_type is not None:
            types = query_types(frame["text"].to_list())
            if query_type not in types:
                raise OptionError(f"cases: query type {query_type!r}{closest(query_type, types)}")
            keep &= types[query_type]
        if text is not None:
            keep &= [text.lower() in written.lower() for written in frame["text"]]
        order = np.argsort(-np.abs(frame["change"].to_numpy()), kind="stable")
        return self.take(order[keep[order]][:limit])

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return some of the cases, in this order."""
        return replace(
            self,
            queries=self.queries[rows],
            ranks={name: rank[rows] for name, rank in self.ranks.items()},
            hits={name: hits[rows] for name, hits in self.hits.items()},
            breakdowns={name: parts.take(rows) for name, parts in self.breakdowns.items()},
        )

    def _fuser(self, name: str) -> str:
        if name not in self.fusers:
            raise OptionError(f"cases: no fuser {name!r}{closest(name, self.fusers)}")
        return name


def collect_cases(
    stack: SimilarityStack,
    dataset: Dataset,
    fusers: Mapping[str, Fuser],
    *,
    depth: int = 5,
    allow_fitted: bool = False,
) -> Cases:
    """Look at every query of the dataset under every provider and fuser, in one pass.

    Parameters
    ----------
    stack : SimilarityStack
        May hold more queries than the dataset.
    fusers : mapping of str to Fuser
        Fitted, by the name of their column.
    depth : int, default=5
        Hits per column, and the rank up to which a target counts as found.
    allow_fitted : bool, default=False
        Look at queries a fuser was fitted on, which flatters it.

    Raises
    ------
    OptionError
        If ``depth`` is not positive, or a fuser has a provider's name.
    LeakageError, AlignmentError, FuserError, DatasetError
        As :func:`dafm_core.evaluation.evaluate`.
    """
    if depth < 1:
        raise OptionError(f"cases: expected depth >= 1, got {depth}.")
    for name, fuser in fusers.items():
        if name in stack.names:
            raise OptionError(f"cases: fuser {name!r} has the name of a provider. Rename it.")
        if not allow_fitted:
            refuse_fitted(fuser, dataset.query_ids)
    part = stack.take_queries(dataset.query_ids)
    scorers = {name: fuser.checked_scorer(part) for name, fuser in fusers.items()}
    headline = parse_metrics(dataset.metrics[:1])
    truth = Truth.of(dataset, part.gallery_ids, headline)
    pieces: list[_Piece] = []
    quality = np.zeros(part.n_providers)
    places = tie_places(part.gallery_ids)
    for rows, tile in part.tiles():
        pieces.append(_look(tile, part.names, scorers, truth.part(rows), places, depth))
        for k in range(part.n_providers):
            quality[k] += truth.part(rows).measure(tile[:, k], headline).sum()
    columns = (*part.names, *scorers)
    return Cases(
        protocol=dataset.protocol,
        providers=part.names,
        fusers=tuple(scorers),
        best_single=part.names[int(quality.argmax())],
        depth=depth,
        queries=dataset.queries,
        gallery_ids=part.gallery_ids,
        ranks={name: np.concatenate([p.ranks[name] for p in pieces]) for name in columns},
        hits={name: np.concatenate([p.hits[name] for p in pieces]) for name in columns},
        breakdowns={
            name: Breakdown.concatenate([p.breakdowns[name] for p in pieces]) for name in scorers
        },
    )


@dataclass(frozen=True, eq=False)
class _Piece:
    """What one tile's queries turned out to be."""

    ranks: dict[str, NDArray[np.float64]]
    hits: dict[str, NDArray[np.int64]]
    breakdowns: dict[str, Breakdown]


def _look(
    tile: Tile,
    names: Sequence[str],
    scorers: Mapping[str, TileScorer],
    truth: Truth,
    places: NDArray[np.int64],
    depth: int,
) -> _Piece:
    fused = {name: score(tile) for name, score in scorers.items()}
    rows = {name: tile[:, k] for k, name in enumerate(names)} | fused
    hits = {name: _hits(scores, places, depth) for name, scores in rows.items()}
    ranks = {name: _first_rank(scores, truth) for name, scores in rows.items()}
    parts = {name: break_down(tile, scorers[name], fused[name], hits[name]) for name in fused}
    return _Piece(ranks, hits, parts)


def _hits(scores: NDArray[np.float32], places: NDArray[np.int64], depth: int) -> NDArray[np.int64]:
    hits = np.full((len(scores), depth), -1, np.int64)
    for row, out in zip(scores, hits, strict=True):
        best = best_first(row, places, depth)
        ranked = best[np.isfinite(row[best])]
        out[: len(ranked)] = ranked
    return hits


def _first_rank(scores: NDArray[np.float32], truth: Truth) -> NDArray[np.float64]:
    """Return the expected rank of each query's best-scored target."""
    places = rank_targets(scores, truth.targets, n_targets=truth.n_targets)
    best = np.flatnonzero(places.targets_greater == 0)
    rank = np.full(places.n_queries, np.inf)
    spread = (places.tied[best] + 1) / (places.targets_tied[best] + 1)  # first of r among t places
    rank[places.rows[best]] = places.greater[best] + spread
    return rank
