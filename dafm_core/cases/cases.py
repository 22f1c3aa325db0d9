"""Single queries: what each model and each fusion put first, and where the target stands.

How they come about is said in ``collecting.py``, why a hit stands where it does in
``breakdown.py``; how cases look on a page is ``reporting``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.cases.breakdown import Breakdown, break_down, scorers_without
from dafm_core.comparison.provenance import Provenance
from dafm_core.errors import OptionError, closest
from dafm_core.evaluation.query_types import query_types
from dafm_core.fusion.base import Fuser
from dafm_core.ground.ids import Ids
from dafm_core.store.stack import SimilarityStack

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
        The provider that finds the target most often.
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
        One per fuser whose reasons were asked for.
    notes : tuple of str
        What the dataset names in vain, e.g. targets outside the gallery, and which of a fuser's
        two scores is looked at; a line per kind.
    provenance : Provenance, optional
        What it takes to look at them again.
    labels : mapping of str to str
        What tables and pages call a column; its name where left out.
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
    notes: tuple[str, ...] = ()
    provenance: Provenance | None = field(default=None, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Cases of {self.protocol}: {len(self)} queries, {', '.join(self.columns)}>"

    def label(self, name: str) -> str:
        """Return what tables and sentences call a column."""
        return self.labels.get(name, name)

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
        return self.queries.select("query_id", "references", "text", "group").with_columns(
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
        found = self.take(order[keep[order]][:limit])
        n_fit = int(keep.sum())
        if len(found) == n_fit:
            return found
        counts = frame.filter(pl.Series(keep))["outcome"].value_counts().sort("outcome").rows()
        words = ", ".join(f"{count} {name}" for name, count in counts)
        note = (
            f"these are the {len(found)} queries whose rank changes most under "
            f"{self.label(fuser)}, of {n_fit} "
            f"({words}): what it can do to a query, not how often"
        )
        return replace(found, notes=(*found.notes, note))

    def __len__(self) -> int:
        return self.queries.height

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: per case and column the rank and the hits, per hit the reasons."""
        facts = self.queries.select("query_id", "references", "text", "targets").to_dicts()
        return {
            "protocol": self.protocol,
            "depth": self.depth,
            "best_single": self.best_single,
            "notes": list(self.notes),
            "labels": dict(self.labels),
            "provenance": None if self.provenance is None else self.provenance.to_json(),
            "cases": [
                fact | {"columns": {name: self._column(name, i) for name in self.columns}}
                for i, fact in enumerate(facts)
            ],
        }

    def _column(self, name: str, row: int) -> dict[str, Any]:
        rank = float(self.ranks[name][row])
        hits: list[dict[str, Any]] = []
        for d, image in enumerate(self.hits[name][row].tolist()):
            if image >= 0:
                hits.append({"image": self.gallery_ids[image]})
                if name in self.breakdowns:
                    hits[-1]["why"] = {
                        provider: self.breakdowns[name].at(row, d, k)
                        for k, provider in enumerate(self.providers)
                    }
        return {"rank": rank if np.isfinite(rank) else None, "hits": hits}

    def with_reasons(self, stack: SimilarityStack, fusers: Mapping[str, Fuser]) -> Self:
        """Return the same cases with every hit of these fitted fusers broken down by provider."""
        asked = stack.take_queries(self.queries["query_id"].to_list())
        breakdowns = dict(self.breakdowns)
        for name, fuser in fusers.items():
            hits = self.hits[self._fuser(name)]
            score, without = fuser.scorer(asked), scorers_without(fuser, asked.gallery)
            breakdowns[name] = Breakdown.concatenate(
                [break_down(t, score(t), hits[rows], without) for rows, t in asked.tiles()]
            )
        return replace(self, breakdowns=breakdowns)

    def take_queries(self, query_ids: Sequence[str]) -> Self:
        """Return the cases of these queries, in this order.

        Raises
        ------
        OptionError
            If there is no such case, with the closest match.
        """
        known = Ids(self.queries["query_id"])
        return self.take(known.positions(query_ids, where="cases", what="query", error=OptionError))

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
