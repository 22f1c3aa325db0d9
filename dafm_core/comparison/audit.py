"""Is fusing worth it, and can the numbers be trusted? Measured on the single models of a stack.

Headroom, redundancy, ties and what the benchmark can resolve; whether the order of the gallery
file gives the targets away is asked in ``gallery_order.py``, what becomes of references that stay
in ``kept_references.py``. Printing is ``reporting``'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.comparison.gallery_order import Order, gallery_order
from dafm_core.comparison.kept_references import KeptReferences, kept_references
from dafm_core.evaluation.design import Leakage
from dafm_core.evaluation.evaluate import Evaluation, evaluate_providers, oracle
from dafm_core.evaluation.trials import Trials
from dafm_core.ground.normalize import rank_rows
from dafm_core.ground.statistics import Resampler
from dafm_core.ground.undecided import null_if_undecided
from dafm_core.metrics.functional import undecided_recall
from dafm_core.metrics.ranking import TargetRanks

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.store.stack import SimilarityStack

FLIPPED: Final = 0.10
"""Share of queries assumed to change when asking what a benchmark can resolve."""
REDUNDANCY_QUERIES: Final = 200


@dataclass(frozen=True)
class Headroom:
    """How much better a perfect choice among the models would be, by metric, in [0, 1].

    Parameters
    ----------
    singles, oracle : mapping
        Values of each provider, and of the best provider per query.
    unique_solves : mapping of provider to float
        Share of queries that only this provider solves, i.e. on which it alone has a value of at
        least 1/2 on ``solved_metric``.
    error_overlap : mapping of "a & b" to float
        Of the queries that a or b fails, the share that both fail; 1 leaves nothing to fuse.
    undecided : mapping of provider to mapping of metric to float
        Share of queries for which a provider's shortlists do not decide a metric; its value is then
        NaN, and it is left out of the oracle and of what is said of ``solved_metric``.
    """

    singles: Mapping[str, Mapping[str, float]]
    oracle: Mapping[str, float]
    solved_metric: str
    unique_solves: Mapping[str, float]
    error_overlap: Mapping[str, float]
    undecided: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ties:
    """One provider's ties: share of targets tied, and R@1 if ties lose, win, or fall at random.

    Only targets with a score are tied; R@1 is NaN where shortlists leave it undecided.
    """

    tied_share: float
    strict: float
    expected: float
    lenient: float


@dataclass(frozen=True)
class Resolution:
    """What difference the benchmark can resolve.

    Parameters
    ----------
    half_width : float
        Of the 95 % interval of a difference if 10 % of the queries flip, independently.
    design_effect : float or None
        How much the variance grows because queries of one group go together, as measured on the
        difference of the two best models on the headline metric; None where it cannot be measured:
        there is one model, or the two answer every query alike.
    clustered_half_width : float or None
        ``half_width`` with the design effect, which is taken as 1 where it is below; None where it
        is None.
    """

    n_queries: int
    n_groups: int
    half_width: float
    design_effect: float | None
    clustered_half_width: float | None


@dataclass(frozen=True)
class Audits:
    """All audits of a stack."""

    headroom: Headroom
    redundancy: Mapping[str, float]
    """Mean over queries of the Spearman correlation of two providers' rows, by "a & b"."""
    ties: Mapping[str, Ties]
    order: Order
    references: KeptReferences
    resolution: Resolution
    leakage: Leakage | None = None
    trials: Trials | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; shares and scores in [0, 1], None where undecided; the order audit
        with its words.
        """
        values = asdict(self)
        values["order"] |= {"is_telling": self.order.is_telling, "words": self.order.words}
        if self.trials:
            values["trials"] |= {"words": self.trials.words}
        nulled: dict[str, Any] = null_if_undecided(values)
        return nulled


def audit(
    stack: SimilarityStack,
    *,
    metrics: Sequence[str] | None = None,
    leakage: Leakage | None = None,
    seed: int = 0,
) -> Audits:
    """Audit the single models of a stack, in sample or not; errors else as ``evaluate``."""
    singles = evaluate_providers(stack, metrics=metrics, allow_fitted=True)
    return Audits(
        headroom=headroom(singles),
        redundancy=redundancy(stack, seed=seed),
        ties={name: _ties(places.gallery) for name, places in stack.single_places.items()},
        order=gallery_order(stack.dataset),
        references=kept_references(stack, seed=seed),
        resolution=resolution(singles, stack.dataset),
        leakage=leakage,
    )


def headroom(singles: Mapping[str, Evaluation]) -> Headroom:
    """Return what a perfect choice among the models would add, and how their errors overlap."""
    metric = _headline(singles)
    solved = {
        name: e.frame[metric].to_numpy() >= 0.5
        for name, e in singles.items()
        if not math.isnan(e.values[metric])
    }
    n_solvers = np.sum(list(solved.values()), axis=0)
    overlap = {}
    for a, b in combinations(solved, 2):
        either = ~(solved[a] & solved[b])
        both = ~solved[a] & ~solved[b]
        overlap[f"{a} & {b}"] = float(both.sum() / max(1, either.sum()))
    return Headroom(
        singles={name: evaluation.values for name, evaluation in singles.items()},
        oracle=oracle(singles).values,
        solved_metric=metric,
        unique_solves=dict.fromkeys(singles, math.nan)
        | {n: float((s & (n_solvers == 1)).mean()) for n, s in solved.items()},
        error_overlap=overlap,
        undecided={
            name: {metric: share for metric, share in e.undecided.items() if share}
            for name, e in singles.items()
            if any(e.undecided.values())
        },
    )


def _headline(singles: Mapping[str, Evaluation]) -> str:
    """Return the first of the metrics that most models decide."""
    tables = [evaluation.values for evaluation in singles.values()]
    return max(tables[0], key=lambda metric: sum(not math.isnan(t[metric]) for t in tables))


def redundancy(stack: SimilarityStack, *, seed: int = 0) -> dict[str, float]:
    """Return the mean Spearman correlation of every two providers' rows, over sampled queries.

    Of shortlists, over the candidates that both list; NaN where no query has two of those.
    """
    n = min(stack.n_queries, REDUNDANCY_QUERIES)
    rows = np.sort(np.random.default_rng(seed).choice(stack.n_queries, n, replace=False))
    pairs = list(combinations(range(stack.n_providers), 2))
    if stack.gallery.unknown:
        return {
            f"{stack.names[a]} & {stack.names[b]}": _common_redundancy(stack, rows, a, b)
            for a, b in pairs
        }
    total = np.zeros((stack.n_providers, stack.n_providers))
    for row in rows:
        scores = stack.tile(row, row + 1)[0]
        total += _rank_correlations(scores[:, np.isfinite(scores[0])])
    return {f"{stack.names[a]} & {stack.names[b]}": float(total[a, b] / n) for a, b in pairs}


def _common_redundancy(stack: SimilarityStack, rows: NDArray[np.int64], a: int, b: int) -> float:
    """Return the mean rank correlation of two providers over the candidates that both know."""
    found = []
    for row in rows:
        scores = stack.tile(row, row + 1)[0, [a, b]]
        common = np.isfinite(scores).all(axis=0)
        if np.count_nonzero(common) > 1:
            found.append(_rank_correlations(scores[:, common])[0, 1])
    return float(np.mean(found)) if found else math.nan


def _rank_correlations(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Spearman correlations of the rows of (K, n) finite scores, (K, K)."""
    ranks = rank_rows(scores).astype(np.float64)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    norms = np.sqrt((centred**2).sum(axis=1))
    scale = np.maximum(np.outer(norms, norms), 1e-12)  # a constant row correlates with nothing
    correlations: NDArray[np.float64] = centred @ centred.T / scale
    return correlations


def resolution(singles: Mapping[str, Evaluation], dataset: Dataset) -> Resolution:
    """Return what difference this many queries, in these groups, can resolve."""
    metric = _headline(singles)
    decided = [e for e in singles.values() if not math.isnan(e.values[metric])]
    best = sorted(decided, key=lambda e: -e.values[metric])[:2]
    columns = [e.frame[metric].to_numpy() for e in best]
    resampler = Resampler(dataset.groups)
    effect = resampler.design_effect(columns[0] - columns[1]) if len(columns) == 2 else None
    half_width = 1.96 * np.sqrt(FLIPPED / dataset.n_queries)
    clustered = None if effect is None else float(half_width * np.sqrt(max(1.0, effect)))
    return Resolution(
        n_queries=dataset.n_queries,
        n_groups=resampler.n_groups,
        half_width=float(half_width),
        design_effect=effect,
        clustered_half_width=clustered,
    )


def _ties(ranks: TargetRanks) -> Ties:
    n = len(ranks.n_targets)
    first = np.maximum(1 - ranks.greater, 0)  # 1 where nothing is strictly above
    scored = ranks.tied if ranks.is_known is None else ranks.tied[ranks.is_known]
    tied_share = float((scored > 1).mean()) if len(scored) else 0.0
    if undecided_recall(ranks, k=1).any():
        return Ties(tied_share, math.nan, math.nan, math.nan)
    return Ties(
        tied_share=tied_share,
        strict=float((first * (ranks.tied == 1)).sum() / n),
        expected=float((first / ranks.tied).sum() / n),
        lenient=float(first.sum() / n),
    )
