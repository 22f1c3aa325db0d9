"""Looking at every query of a stack under every provider and fuser: ranks, hits and reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.cases.breakdown import Breakdown, break_down, scorers_without
from dafm_core.cases.cases import Cases
from dafm_core.comparison.provenance import Provenance
from dafm_core.errors import OptionError, expect
from dafm_core.evaluation.design import AsGiven, Design
from dafm_core.fusion.base import Fuser
from dafm_core.ground.ordering import best_first, tie_places
from dafm_core.metrics.truth import Truth, require_truth
from dafm_core.store.stack import STACK, SimilarityStack


def collect_cases(
    stack: SimilarityStack,
    fusers: Mapping[str, Fuser],
    *,
    depth: int = 5,
    design: Design | None = None,
    allow_fitted: bool = False,
    reasons: bool = True,
    labels: Mapping[str, str] | None = None,
) -> Cases:
    """Look at every query of a stack under every provider and fuser.

    Parameters
    ----------
    stack : SimilarityStack
    fusers : mapping of str to Fuser
        By the name of their column.
    depth : int, default=5
        Hits per column, and the rank up to which a target counts as found.
    design : Design, default=AsGiven()
        As :func:`~dafm_core.comparison.compare.compare`: copies are fitted on other queries, or
        the fusers are used as they are.
    allow_fitted : bool, default=False
        Look at queries a fuser given fitted has seen, which flatters it.
    reasons : bool, default=True
        Break every hit down by provider, which fuses everything once more for each of them;
        :meth:`Cases.with_reasons` does it for chosen cases later.
    labels : mapping of str to str, optional
        What tables and pages call providers and fusers.

    Raises
    ------
    OptionError
        If ``depth`` is not positive, or a fuser has a provider's name.
    LeakageError, AlignmentError, FuserError, DatasetError
        As :func:`~dafm_core.evaluation.evaluate.evaluate`.
    """
    expect(stack, SimilarityStack, where="cases", hint=STACK)
    if depth < 1:
        raise OptionError(f"cases: expected depth >= 1, got {depth}.")
    for name in fusers:
        if name in stack.names:
            raise OptionError(f"cases: fuser {name!r} has the name of a provider. Rename it.")
    notes = tuple(stack.dataset.problems())
    stack = stack.measured()
    pieces: list[_Piece] = []
    design = AsGiven() if design is None else expect(design, Design, where="cases: design")
    provenance = Provenance.of(stack, fusers, design=design.key, bank=None, seed=0, n_resamples=0)
    two_headed: dict[str, None] = {}
    for train, test in design.parts(stack):
        fitted = fusers
        if train is not None:
            fitted = {name: fuser.clone().fit(train) for name, fuser in fusers.items()}
        two_headed.update(dict.fromkeys(n for n, f in fitted.items() if len(f.heads) > 1))
        for fuser in fitted.values():
            if fuser.is_fitted and not allow_fitted:
                fuser.record_.refuse(test.dataset, who=fuser.name)
        pieces.extend(_look_at(test, fitted, depth, reasons))
    cases = _join(pieces, stack, tuple(fusers), depth)
    known = {name: label for name, label in (labels or {}).items() if name in cases.columns}
    cases = replace(cases, labels=known, provenance=provenance)
    said = (f"{cases.label(n)}: hits and ranks are those of its gallery head" for n in two_headed)
    return replace(cases, notes=(*notes, *said)).take_queries(stack.query_ids)


@dataclass(frozen=True, eq=False)
class _Piece:
    """What one tile's queries turned out to be."""

    queries: pl.DataFrame
    ranks: dict[str, NDArray[np.float64]]
    hits: dict[str, NDArray[np.int64]]
    breakdowns: dict[str, Breakdown]


def _look_at(
    stack: SimilarityStack, fusers: Mapping[str, Fuser], depth: int, reasons: bool
) -> Iterator[_Piece]:
    """Yield what each tile of a stack turns out to be."""
    require_truth(stack.dataset, stack.truth, [])
    scorers = {name: fuser.scorer(stack) for name, fuser in fusers.items()}
    explained = fusers if reasons else {}
    without = {name: scorers_without(fuser, stack.gallery) for name, fuser in explained.items()}
    places = tie_places(stack.gallery_ids)
    for rows, tile in stack.tiles():
        truth = stack.truth.part(rows)
        fused = {name: score(tile) for name, score in scorers.items()}
        singles = {name: tile[:, k] for k, name in enumerate(stack.names)}
        every = {n: np.where(np.isnan(s), -np.inf, s) for n, s in singles.items()} | fused
        hits = {name: _hits(scores, places, depth) for name, scores in every.items()}
        yield _Piece(
            queries=stack.dataset.queries[rows],
            ranks={name: _first_rank(scores, truth) for name, scores in every.items()},
            hits=hits,
            breakdowns={
                name: break_down(tile, fused[name], hits[name], without[name]) for name in explained
            },
        )


def _join(
    pieces: Sequence[_Piece],
    stack: SimilarityStack,
    fusers: tuple[str, ...],
    depth: int,
) -> Cases:
    columns = (*stack.names, *fusers)
    ranks = {name: np.concatenate([piece.ranks[name] for piece in pieces]) for name in columns}
    found = {
        name: ((ranks[name] <= depth).mean(), (1 / ranks[name]).mean()) for name in stack.names
    }
    return Cases(
        protocol=stack.protocol,
        providers=stack.names,
        fusers=fusers,
        best_single=max(stack.names, key=found.__getitem__),
        depth=depth,
        queries=pl.concat([piece.queries for piece in pieces]),
        gallery_ids=stack.gallery_ids,
        ranks=ranks,
        hits={name: np.concatenate([piece.hits[name] for piece in pieces]) for name in columns},
        breakdowns={
            name: Breakdown.concatenate([piece.breakdowns[name] for piece in pieces])
            for name in pieces[0].breakdowns
        },
    )


def _hits(scores: NDArray[np.float32], places: NDArray[np.int64], depth: int) -> NDArray[np.int64]:
    hits = np.full((len(scores), depth), -1, np.int64)
    for row, out in zip(scores, hits, strict=True):
        best = best_first(row, places, depth)
        ranked = best[np.isfinite(row[best])]
        out[: len(ranked)] = ranked
    return hits


def _first_rank(scores: NDArray[np.float32], truth: Truth) -> NDArray[np.float64]:
    """Return the expected rank of each query's best-scored target."""
    places = truth.places(scores, only=()).gallery
    best = np.flatnonzero(places.targets_greater == 0)
    rank = np.full(places.n_queries, np.inf)
    spread = (places.tied[best] + 1) / (places.targets_tied[best] + 1)  # first of r among t places
    rank[places.rows[best]] = places.greater[best] + spread
    return rank
