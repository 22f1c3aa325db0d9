"""What a fusion learned, seen from outside: every fuser, static, learned or third-party, is asked
the same questions through its scores.

* Which provider does it follow, and for which kind of query?       ``effective_weights``
* How does a candidate's fused score answer to a provider's score?  ``response_curves``
* When it is sure, is it right?                                     ``margin_reliability``

What a fit itself records (loss, temperature, recall per step) is the fuser's own ``history_``.
``learned`` asks all three and keeps the history beside the answers; charts of them are made in
``reporting``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import OptionError
from dafm_core.evaluation.query_types import query_types
from dafm_core.fusion.base import Fuser, Tile, TileScorer
from dafm_core.fusion.completing import complete
from dafm_core.ground.normalize import zscore_rows
from dafm_core.ground.statistics import Resampler
from dafm_core.metrics.families import Head
from dafm_core.metrics.spec import parse_metric
from dafm_core.metrics.truth import require_truth
from dafm_core.store.stack import SimilarityStack

POOL = 100
"""Candidates per provider that effective weights are fitted on: where rankings are decided."""
WEIGHED = 500
"""Queries whose weights ``learned`` finds: more would say the same."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EffectiveWeights:
    """How much a fusion follows each provider, query by query.

    Parameters
    ----------
    names : tuple of str
    weights : ndarray of shape (n_queries, K), float64
        Least-squares coefficients of the fused row on the standardised rows of the providers, over
        the candidates any provider has among its first ``POOL``; absolute values sum to 1.
    explained : ndarray of shape (n_queries,), float64
        Share of the fused row's variance over those candidates that the weights explain: 1 where
        the fusion is a weighted sum of z-scores.
    """

    names: tuple[str, ...]
    weights: NDArray[np.float64]
    explained: NDArray[np.float64]


def effective_weights(fuser: Fuser, stack: SimilarityStack) -> EffectiveWeights:
    """Return the weights of the linear fusion that is nearest to this one, for each query.

    Raises
    ------
    FuserError, AlignmentError
        If the fuser is not fitted, or not for this stack.
    """
    score = fuser.scorer(stack)
    weights = np.zeros((stack.n_queries, stack.n_providers))
    explained = np.zeros(stack.n_queries)
    for rows, tile in stack.tiles():
        standing = zscore_rows(complete(tile, stack.gallery))
        fused = zscore_rows(score(tile))
        for row, (x, y) in enumerate(zip(standing, fused, strict=True), rows.start):
            weights[row], explained[row] = _nearest_linear(x, y)
    return EffectiveWeights(names=stack.names, weights=weights, explained=explained)


@dataclass(frozen=True)
class TypeWeights:
    """Effective weights, averaged over the queries of one type.

    Parameters
    ----------
    query_type : str
        One of ``query_types``, or ``all``.
    n_queries : int
    explained : float
        Mean of ``EffectiveWeights.explained``.
    weights : mapping of provider to float
        Mean of ``EffectiveWeights.weights``.
    """

    query_type: str
    n_queries: int
    explained: float
    weights: Mapping[str, float]


def weights_by_query_type(weights: EffectiveWeights, dataset: Dataset) -> tuple[TypeWeights, ...]:
    """Return the mean weights over all queries and over each query type, all queries first.

    Types that no query is of are left out.
    """
    types = {"all": np.ones(dataset.n_queries, bool)}
    types |= query_types(dataset.queries["text"].to_list())
    return tuple(
        TypeWeights(
            query_type=name,
            n_queries=int(of_type.sum()),
            explained=float(weights.explained[of_type].mean()),
            weights=dict(
                zip(weights.names, weights.weights[of_type].mean(axis=0).tolist(), strict=True)
            ),
        )
        for name, of_type in types.items()
        if of_type.any()
    )


@dataclass(frozen=True)
class Response:
    """How a candidate's fused score answers to its score under one provider.

    Parameters
    ----------
    provider : str
    standardised : tuple of float
        The provider's score of the candidate, in standard deviations of the provider's row.
    median, low, high : tuple of float
        Over queries, the median change of the fused score since a provider score of 0, in standard
        deviations of the fused row, and its quartiles; one value for each of ``standardised``.
    """

    provider: str
    standardised: tuple[float, ...]
    median: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def response_curves(
    fuser: Fuser, stack: SimilarityStack, *, n_queries: int = 16, seed: int = 0
) -> tuple[Response, ...]:
    """Move one candidate along one provider's scores and watch its fused score; one response for
    each provider.

    For some queries, a candidate is drawn from those some provider ranks among its first
    ``POOL``; its score under one provider goes from -2 to 6 standard deviations of the row while
    everything else stays.
    """
    score = fuser.scorer(stack)
    rng = np.random.default_rng(seed)
    steps = np.arange(-2, 7, dtype=np.float32)
    chosen = rng.permutation(stack.n_queries)[:n_queries]
    curves = np.zeros((len(chosen), stack.n_providers, len(steps)))
    for i, row in enumerate(chosen.tolist()):
        tile = stack.tile(row, row + 1)
        candidate = int(rng.choice(_pool(zscore_rows(complete(tile, stack.gallery))[0])))
        for k in range(stack.n_providers):
            curves[i, k] = _respond(score, tile, k, candidate, steps)
    middle, low, high = (np.quantile(curves, q, axis=0).tolist() for q in (0.5, 0.25, 0.75))
    return tuple(
        Response(name, tuple(steps.tolist()), tuple(middle[k]), tuple(low[k]), tuple(high[k]))
        for k, name in enumerate(stack.names)
    )


@dataclass(frozen=True)
class MarginBin:
    """Queries whose first candidate stands about equally far above the second.

    Parameters
    ----------
    n_queries : int
    margin : float
        Mean distance of the first two candidates, in standard deviations of the fused row.
    right : float
        Share of the queries whose first candidate is a target, in [0, 1]; ties by expectation.
    low, high : float
        95 % interval of ``right``, groups drawn whole.
    """

    n_queries: int
    margin: float
    right: float
    low: float
    high: float


def margin_reliability(
    fuser: Fuser,
    stack: SimilarityStack,
    *,
    n_bins: int = 8,
    allow_fitted: bool = False,
) -> tuple[MarginBin, ...]:
    """Return how often the first candidate is right, by how far it stands above the second: bins of
    about equally many queries, by ascending margin.

    Raises
    ------
    OptionError
        If ``n_bins`` is not positive.
    LeakageError, FuserError, AlignmentError, DatasetError
        As :func:`dafm_core.evaluation.evaluate.evaluate`.
    """
    if n_bins < 1:
        raise OptionError(f"reliability: expected n_bins >= 1, got {n_bins}.")
    if not allow_fitted and fuser.is_fitted:
        fuser.record_.refuse(stack.dataset, who=fuser.name)
    score, metrics = fuser.scorer(stack), [parse_metric("hit@1")]
    require_truth(stack.dataset, stack.truth, metrics)
    margin, right = np.zeros(stack.n_queries), np.zeros(stack.n_queries)
    for rows, tile in stack.tiles():
        fused = score(tile)
        standing = zscore_rows(fused)
        if standing.shape[1] > 1:
            best = np.partition(standing, -2, axis=1)[:, -2:]
            margin[rows] = np.where(np.isfinite(best[:, 0]), best[:, 1] - best[:, 0], 0)
        right[rows] = stack.truth.part(rows).measure(fused, metrics)[:, 0]
    bins = np.array_split(np.argsort(margin, kind="stable"), min(n_bins, stack.n_queries))
    return tuple(_bin(margin[b], right[b], stack.dataset.groups[b]) for b in bins)


def _bin(
    margin: NDArray[np.float64], right: NDArray[np.float64], groups: NDArray[np.str_]
) -> MarginBin:
    low, high, _ = Resampler(groups, n_resamples=2000).summary(right[:, None])
    return MarginBin(
        len(margin), float(margin.mean()), float(right.mean()), float(low[0]), float(high[0])
    )


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What is known of one fitted fusion; every answer is of queries it was not fitted on.

    Parameters
    ----------
    name : str
    weights : tuple of TypeWeights
    responses : tuple of Response
    reliability : tuple of MarginBin
    history : sequence of sequences of mapping
        What was recorded while fitting: for each network, numbers by name at each step.
    heads : tuple of str
        The rankings that have a score of their own; everything here is of the gallery's.
    """

    name: str
    weights: tuple[TypeWeights, ...]
    responses: tuple[Response, ...]
    reliability: tuple[MarginBin, ...]
    history: Sequence[Sequence[Mapping[str, float]]] = ()
    heads: tuple[Head, ...] = ("gallery",)


def learned(name: str, fuser: Fuser, held_out: SimilarityStack) -> Learned:
    """Ask a fitted fuser everything above, on queries it has not seen.

    Reliability is of all held-out queries; weights are of ``WEIGHED`` drawn from them.

    Raises
    ------
    LeakageError, FuserError, AlignmentError, DatasetError
        As :func:`dafm_core.evaluation.evaluate.evaluate`.
    """
    drawn = np.random.default_rng(0).permutation(held_out.n_queries)[:WEIGHED]
    some = held_out.take_queries([held_out.query_ids[i] for i in np.sort(drawn)])
    weights = effective_weights(fuser, some)
    return Learned(
        name=name,
        reliability=margin_reliability(fuser, held_out),
        weights=weights_by_query_type(weights, some.dataset),
        responses=response_curves(fuser, held_out),
        history=fuser.history_,
        heads=fuser.heads,
    )


def _pool(standing: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the candidates that some provider has among its first ``POOL``; (K, N) -> (M,)."""
    depth = min(POOL, standing.shape[1])
    bars = np.partition(standing, -depth, axis=1)[:, -depth, None]
    return np.flatnonzero((np.isfinite(standing) & (standing >= bars)).any(axis=0))


def _nearest_linear(
    standing: NDArray[np.float32], fused: NDArray[np.float32]
) -> tuple[NDArray[np.float64], float]:
    """Return least-squares weights of one query, |w| summing to 1, and the variance explained."""
    pool = _pool(standing)
    x = standing[:, pool].T.astype(np.float64)  # (M, K)
    y = fused[pool].astype(np.float64)
    x, y = x - x.mean(axis=0), y - y.mean()
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    total = float(y @ y)
    rest = y - x @ weights
    explained = 1.0 - float(rest @ rest) / total if total > 0 else 0.0
    size = np.abs(weights).sum()
    return (weights / size if size > 0 else weights), explained


def _respond(
    score: TileScorer, tile: Tile, k: int, candidate: int, steps: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the change of one candidate's fused score at each step of provider ``k``'s score."""
    row = tile[0, k][np.isfinite(tile[0, k])]
    moved = np.repeat(tile, len(steps), axis=0)  # (T, K, N): rows do not see each other
    moved[:, k, candidate] = row.mean() + steps * row.std()
    fused = score(tile)[0]
    scale = fused[np.isfinite(fused)].std()
    scores = score(moved)[:, candidate].astype(np.float64)
    change: NDArray[np.float64] = (scores - scores[np.argmin(np.abs(steps))]) / (scale or 1.0)
    return change
