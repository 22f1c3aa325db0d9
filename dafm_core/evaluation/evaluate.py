"""From scores to a per-query frame: one row per query, one float64 column per metric.

Aggregates are derived from the frame, and everything is aligned by id. Scores are read tile by
tile, so memory follows the tile and not queries x gallery. Comparing evaluations, with intervals
and tests, is ``comparison.py``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.errors import AlignmentError, LeakageError
from dafm_core.metrics.spec import parse_metrics
from dafm_core.metrics.truth import Truth

if TYPE_CHECKING:
    from dafm_core.datasets.base import Dataset
    from dafm_core.fusion.base import Fuser, Run, TileScorer
    from dafm_core.store.stack import SimilarityStack


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How one ranking of a protocol's queries turned out.

    Parameters
    ----------
    name : str
    protocol : str
    metrics : tuple of str
        Columns of the frame, the headline first.
    frame : polars.DataFrame
        ``query_id, group`` and one float64 column in [0, 1] per metric.
    """

    name: str
    protocol: str
    metrics: tuple[str, ...]
    frame: pl.DataFrame

    @classmethod
    def of(
        cls,
        name: str,
        dataset: Dataset,
        metrics: Sequence[str],
        values: NDArray[np.float64],
    ) -> Evaluation:
        """Return the evaluation with these values, (n_queries, n_metrics)."""
        columns = [pl.Series(metric, values[:, m]) for m, metric in enumerate(metrics)]
        frame = dataset.queries.select("query_id", "group").with_columns(columns)
        return cls(name, dataset.protocol, tuple(metrics), frame)

    @property
    def values(self) -> dict[str, float]:
        """Mean over queries of each metric, in [0, 1]."""
        means = self.per_query.mean(axis=0)
        return dict(zip(self.metrics, means.tolist(), strict=True))

    @property
    def per_query(self) -> NDArray[np.float64]:
        """The metric columns, (n_queries, n_metrics)."""
        return self.frame.select(self.metrics).to_numpy()


def evaluate(
    fuser: Fuser | str,
    stack: SimilarityStack,
    dataset: Dataset,
    *,
    metrics: Sequence[str] | None = None,
    allow_fitted: bool = False,
) -> Evaluation:
    """Evaluate a fuser, or one provider of the stack, on the queries of a dataset.

    Parameters
    ----------
    fuser : Fuser or str
        A fitted fuser, or the name of a provider.
    stack : SimilarityStack
        May hold more queries than the dataset, and its gallery in another order.
    metrics : sequence of str, optional
        By default the dataset's own.
    allow_fitted : bool, default=False
        Evaluate on queries the fuser was fitted on, which flatters it.

    Raises
    ------
    LeakageError
        If the fuser was fitted on a query of the dataset.
    AlignmentError
        If protocols, queries, galleries or providers do not agree.
    DatasetError
        If a query has no target.
    OptionError
        For an unknown metric.
    """
    if isinstance(fuser, str):
        return evaluate_providers(stack.select([fuser]), dataset, metrics=metrics)[fuser]
    if not allow_fitted:
        refuse_fitted(fuser, dataset.query_ids)
    part = stack.take_queries(dataset.query_ids)
    name = type(fuser).__name__
    return _evaluate_tiles({name: fuser.checked_scorer(part)}, part, dataset, metrics)[name]


def evaluate_providers(
    stack: SimilarityStack, dataset: Dataset, *, metrics: Sequence[str] | None = None
) -> dict[str, Evaluation]:
    """Evaluate every provider of the stack alone, in one pass; errors as :func:`evaluate`."""
    part = stack.take_queries(dataset.query_ids)
    scorers = {name: _column(k) for k, name in enumerate(part.names)}
    return _evaluate_tiles(scorers, part, dataset, metrics)


def evaluate_run(run: Run, dataset: Dataset, *, metrics: Sequence[str] | None = None) -> Evaluation:
    """Evaluate fused scores; errors as :func:`evaluate`."""
    index = {query_id: row for row, query_id in enumerate(run.query_ids)}
    missing = [query_id for query_id in dataset.query_ids if query_id not in index]
    if missing:
        raise AlignmentError(
            f"run {run.name!r}: no scores for query {missing[0]!r} ({len(missing)} of "
            f"{dataset.n_queries} are missing). Fuse all queries of {dataset.protocol}."
        )
    chosen = parse_metrics(metrics or dataset.metrics)
    truth = Truth.of(dataset, run.gallery_ids, chosen)
    values = truth.measure(run.scores[[index[q] for q in dataset.query_ids]], chosen)
    return Evaluation.of(run.name, dataset, [m.name for m in chosen], values)


def combine(name: str, parts: Iterable[Evaluation], dataset: Dataset) -> Evaluation:
    """Return one evaluation of several disjoint parts, in the order of the dataset's queries."""
    evaluations = list(parts)
    frame = pl.concat([part.frame for part in evaluations])
    row = {query_id: i for i, query_id in enumerate(frame["query_id"])}
    ordered = frame[[row[query_id] for query_id in dataset.query_ids]]
    return Evaluation(name, dataset.protocol, evaluations[0].metrics, ordered)


def oracle(evaluations: Mapping[str, Evaluation], *, name: str = "oracle") -> Evaluation:
    """Return the evaluation of whoever knows, per query and metric, which ranking is best."""
    parts = list(evaluations.values())
    best = np.maximum.reduce([part.per_query for part in parts])
    columns = [pl.Series(metric, best[:, m]) for m, metric in enumerate(parts[0].metrics)]
    frame = parts[0].frame.select("query_id", "group").with_columns(columns)
    return Evaluation(name, parts[0].protocol, parts[0].metrics, frame)


def mean_over_protocols(evaluations: Iterable[Evaluation]) -> dict[str, float]:
    """Return the unweighted mean over protocols of each metric they share.

    Over FashionIQ's three categories, ``rmean-fashioniq`` becomes its Rmean, the mean of averages.
    """
    tables = [evaluation.values for evaluation in evaluations]
    shared = [metric for metric in tables[0] if all(metric in table for table in tables)]
    return {metric: float(np.mean([table[metric] for table in tables])) for metric in shared}


def refuse_fitted(fuser: Fuser, query_ids: Sequence[str]) -> None:
    """Raise LeakageError if the fuser has seen the targets of any of these queries."""
    seen = [q for q in query_ids if q in getattr(fuser, "fitted_query_ids_", frozenset())]
    if seen:
        raise LeakageError(
            f"{type(fuser).__name__}: expected queries it was not fitted on, got {len(seen)} of "
            f"{len(query_ids)} that it was, e.g. {seen[0]!r}. Hold queries out, or use folds."
        )


def _evaluate_tiles(
    scorers: Mapping[str, TileScorer],
    stack: SimilarityStack,
    dataset: Dataset,
    metrics: Sequence[str] | None,
) -> dict[str, Evaluation]:
    """Evaluate several scorers of the dataset's queries in one pass over the tiles."""
    if dataset.protocol != stack.protocol:
        raise AlignmentError(
            f"evaluation: expected queries of protocol {stack.protocol!r}, got "
            f"{dataset.protocol!r}. Results of two protocols are not comparable."
        )
    chosen = parse_metrics(metrics or dataset.metrics)
    truth = Truth.of(dataset, stack.gallery_ids, chosen)
    values = {name: np.empty((stack.n_queries, len(chosen))) for name in scorers}
    for rows, tile in stack.tiles():
        part = truth.part(rows)
        for name, score in scorers.items():
            values[name][rows] = part.measure(score(tile), chosen)
    columns = [metric.name for metric in chosen]
    return {n: Evaluation.of(n, dataset, columns, array) for n, array in values.items()}


def _column(k: int) -> TileScorer:
    return lambda tile: tile[:, k]
