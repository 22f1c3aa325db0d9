"""From scores to a per-query frame: one row per query, one float64 column per metric.

Aggregates are derived from the frame, and everything is aligned by id. Scores are read tile by
tile, so memory follows the tile and not queries x gallery. Comparing evaluations, with intervals
and tests, is ``comparison/compare.py``'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.errors import AlignmentError, OptionError, closest, expect
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.channels.together import scorers_together
from dafm_core.fusion.record import refuse_fitted
from dafm_core.ground.ids import Ids
from dafm_core.metrics.families import HEADS, Head
from dafm_core.metrics.spec import Metric, each_once, measure, metric_label, parse_metrics
from dafm_core.metrics.truth import Truth, require_truth
from dafm_core.store.rows import CACHED_BYTES
from dafm_core.store.run import Run
from dafm_core.store.stack import STACK, SimilarityStack


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
        ``query_id, group``, ``tags`` where the dataset has any, and one float64 column in [0, 1]
        per metric; NaN where the metric is undecided for the query: it depends on candidates that
        nobody has scored.
    heads : tuple of str
        Scores that were measured: with two, subsets were ranked by a score of their own.
    """

    name: str
    protocol: str
    metrics: tuple[str, ...]
    frame: pl.DataFrame
    heads: tuple[Head, ...] = ("gallery",)

    def __repr__(self) -> str:
        values = ", ".join(f"{metric_label(m)} {100 * v:.2f}" for m, v in self.values.items())
        return f"<Evaluation of {self.name!r} on {self.protocol}: {values}>"

    @classmethod
    def of(
        cls,
        name: str,
        dataset: Dataset,
        metrics: Sequence[str],
        values: NDArray[np.float64],
        *,
        heads: tuple[Head, ...] = ("gallery",),
    ) -> Evaluation:
        """Return the evaluation with these values, (n_queries, n_metrics)."""
        columns = [pl.Series(metric, values[:, m]) for m, metric in enumerate(metrics)]
        about = ["query_id", "group"]
        if (dataset.queries["tags"].list.len() > 0).any():
            about.append("tags")
        frame = dataset.queries.select(about).with_columns(columns)
        return cls(name, dataset.protocol, tuple(metrics), frame, heads)

    @property
    def values(self) -> dict[str, float]:
        """Mean over queries of each metric, in [0, 1]; NaN where it is undecided for a query."""
        means = self.per_query.mean(axis=0)
        return dict(zip(self.metrics, means.tolist(), strict=True))

    def by_tag(self, metric: str) -> dict[str, float]:
        """Return the mean of a metric over the queries of each tag, in [0, 1], sorted by tag.

        A query with several tags counts for each of them; empty where no query has a tag.

        Raises
        ------
        OptionError
            If the evaluation has no such metric.

        References
        ----------
        CIRCO's mAP@10 by semantic aspect: https://github.com/miccunifi/CIRCO.
        """
        if metric not in self.metrics:
            raise OptionError(f"{self.name}: metric {metric!r}{closest(metric, self.metrics)}")
        if "tags" not in self.frame.columns:
            return {}
        rows = self.frame.select("tags", metric).explode("tags").drop_nulls("tags")
        means = rows.group_by("tags").agg(pl.col(metric).mean()).sort("tags")
        return dict(means.iter_rows())

    @property
    def undecided(self) -> dict[str, float]:
        """Share of queries for which each metric is undecided, in [0, 1]."""
        shares = np.isnan(self.per_query).mean(axis=0)
        return dict(zip(self.metrics, shares.tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return the metrics in percent, None where undecided, and the undecided shares."""
        return {
            "name": self.name,
            "protocol": self.protocol,
            "metrics": {
                metric: None if math.isnan(value) else 100 * value
                for metric, value in self.values.items()
            },
            "undecided": {metric: share for metric, share in self.undecided.items() if share},
        }

    @property
    def per_query(self) -> NDArray[np.float64]:
        """The metric columns, (n_queries, n_metrics)."""
        return self.frame.select(self.metrics).to_numpy()

    @property
    def mean_per_query(self) -> NDArray[np.float64]:
        """The mean of a query's metrics, each counted once (``each_once``), (n_queries,)."""
        values: NDArray[np.float64] = self.frame.select(each_once(self.metrics)).to_numpy()
        return np.asarray(values.mean(axis=1))


def evaluate(
    fuser: Fuser | str,
    stack: SimilarityStack,
    *,
    metrics: Sequence[str] | None = None,
    allow_fitted: bool = False,
) -> Evaluation:
    """Evaluate a fuser, or one provider of the stack, on the queries of a stack.

    Parameters
    ----------
    fuser : Fuser or str
        A fitted fuser, or the name of a provider.
    stack : SimilarityStack
    metrics : sequence of str, optional
        By default the dataset's own.
    allow_fitted : bool, default=False
        Evaluate on queries the fuser was fitted on, which flatters it.

    Raises
    ------
    LeakageError
        If the fuser was fitted on a query of the stack.
    AlignmentError
        If galleries or providers do not agree.
    DatasetError
        If a query has no target.
    OptionError
        For an unknown metric.
    """
    expect(stack, SimilarityStack, where="evaluate", hint=STACK)
    expect(fuser, (Fuser, str), where="evaluate", hint="Give a fitted fuser or a provider's name.")
    if isinstance(fuser, str):
        return evaluate_providers(
            stack.select([fuser]), metrics=metrics, allow_fitted=allow_fitted
        )[fuser]
    return evaluate_together([fuser], stack, metrics=metrics, allow_fitted=allow_fitted)[0]


def evaluate_together(
    fusers: Sequence[Fuser],
    stack: SimilarityStack,
    *,
    metrics: Sequence[str] | None = None,
    allow_fitted: bool = False,
) -> list[Evaluation]:
    """Do what :func:`evaluate` does for several fusers, with one look at what they see alike."""
    for fuser in () if allow_fitted else fusers:
        refuse_fitted(fuser.fitted_ids(stack), stack.query_ids, who=fuser.name)
    chosen = parse_metrics(metrics or stack.dataset.metrics, of=stack.dataset.metrics)
    require_truth(stack.dataset, stack.truth, chosen)
    heads = [_measured_heads(chosen, fuser.heads) for fuser in fusers]
    score = scorers_together(fusers, stack, heads)
    values = np.empty((len(fusers), stack.n_queries, len(chosen)))
    gallery = stack.gallery
    for rows, tile in stack.tiles(n_bytes=CACHED_BYTES):
        truth = stack.truth.part(rows)
        for fuser, fused, own in zip(fusers, score(rows, tile), values, strict=True):
            own[rows] = truth.measure(
                fused["gallery"],
                chosen,
                subset_scores=fused.get("subset"),
                unknown=fuser.unranked(tile, gallery) if gallery.unknown else None,
                anywhere=gallery.only_asked,
            )
    names = [metric.name for metric in chosen]
    return [
        Evaluation.of(fuser.name, stack.dataset, names, own, heads=measured)
        for fuser, own, measured in zip(fusers, values, heads, strict=True)
    ]


def evaluate_providers(
    stack: SimilarityStack, *, metrics: Sequence[str] | None = None, allow_fitted: bool = False
) -> dict[str, Evaluation]:
    """Evaluate every provider of the stack alone; errors as :func:`evaluate`.

    Each provider's targets are ranked once for a stack, whatever is asked of the ranks. A provider
    may be a fusion that was imported, and then knows the queries it was fitted on.
    """
    for name in () if allow_fitted else stack.names:
        fitted = stack.gallery.select([name]).fitted_query_ids
        refuse_fitted(fitted, stack.query_ids, who=f"provider {name!r}")
    chosen = parse_metrics(metrics or stack.dataset.metrics, of=stack.dataset.metrics)
    require_truth(stack.dataset, stack.truth, chosen)
    names = [metric.name for metric in chosen]
    return {
        name: Evaluation.of(name, stack.dataset, names, measure(places, chosen))
        for name, places in stack.single_places.items()
    }


def evaluate_run(
    run: Run,
    dataset: Dataset,
    *,
    metrics: Sequence[str] | None = None,
    allow_fitted: bool = False,
) -> Evaluation:
    """Evaluate fused scores; errors as :func:`evaluate`."""
    if not allow_fitted:
        refuse_fitted(run.fitted_query_ids, dataset.query_ids, who=f"run {run.name!r}")
    rows = run.query_ids.positions(dataset.query_ids, where=f"run {run.name!r}", what="query")
    columns = run.gallery_ids.positions(
        dataset.gallery_ids, where=f"run {run.name!r}", what="gallery image"
    )
    if len(run.gallery_ids) != dataset.n_gallery:
        raise AlignmentError(
            f"run {run.name!r}: expected scores of {dataset.protocol}'s {dataset.n_gallery} "
            f"candidates, got {len(run.gallery_ids)}. Fuse this dataset."
        )
    chosen = parse_metrics(metrics or dataset.metrics, of=dataset.metrics)
    truth = Truth.of(dataset)
    require_truth(dataset, truth, chosen)
    cells = np.ix_(rows, columns)
    unknown = None if run.unknown is None else run.unknown[cells]
    heads = _measured_heads(chosen, HEADS if run.subset_scores is not None else ("gallery",))
    values = truth.measure(
        run.scores[cells],
        chosen,
        subset_scores=None if run.subset_scores is None else run.subset_scores[cells],
        unknown=unknown,
        anywhere=run.anywhere,
    )
    return Evaluation.of(run.name, dataset, [m.name for m in chosen], values, heads=heads)


def combine(name: str, parts: Iterable[Evaluation], dataset: Dataset) -> Evaluation:
    """Return one evaluation of several disjoint parts, in the order of the dataset's queries."""
    evaluations = list(parts)
    frame = pl.concat([part.frame for part in evaluations])
    ordered = frame[Ids(frame["query_id"]).positions(dataset.query_ids)]
    heads = tuple(head for head in HEADS if any(head in part.heads for part in evaluations))
    return Evaluation(name, dataset.protocol, evaluations[0].metrics, ordered, heads)


def _measured_heads(metrics: Sequence[Metric], heads: Sequence[Head]) -> tuple[Head, ...]:
    """Return those of a fuser's heads that some metric measures; the gallery's always."""
    asked = {head for metric in metrics for head in metric.heads} | {"gallery"}
    return tuple(head for head in HEADS if head in asked and head in heads)


def by_tag(
    evaluations: Mapping[str, Evaluation], metrics: Sequence[str]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return tag -> name of the evaluation -> metric -> mean over its queries, in percent; None
    where the metric is undecided for one of them.
    """
    table: dict[str, dict[str, dict[str, float | None]]] = {}
    for metric in metrics:
        for name, evaluation in evaluations.items():
            for tag, value in evaluation.by_tag(metric).items():
                percent = None if math.isnan(value) else 100 * value
                table.setdefault(tag, {}).setdefault(name, {})[metric] = percent
    return table


def shared_metrics(evaluations: Iterable[Evaluation]) -> tuple[str, ...]:
    """Return the metrics to take means of, each counted once (``each_once``): all that every
    ranking decides which decides any.
    """
    tables = [evaluation.values for evaluation in evaluations]
    decided = [{m for m, value in table.items() if not math.isnan(value)} for table in tables]
    some = [metrics for metrics in decided if metrics]
    return each_once([m for m in tables[0] if some and all(m in metrics for metrics in some)])


def oracle(evaluations: Mapping[str, Evaluation], *, name: str = "oracle") -> Evaluation:
    """Return the evaluation of whoever knows, per query, which of the rankings is best.

    One ranking per query gives all metrics: the one with the highest mean of the query's metrics
    (``shared_metrics``), of several the first. A ranking that decides none of them is left out.
    """
    parts = list(evaluations.values())
    averaged = shared_metrics(parts)
    tables = [part.frame.select(averaged).to_numpy() for part in parts]
    quality = [table.mean(axis=1) if averaged else np.zeros(len(table)) for table in tables]
    chosen = np.argmax(np.nan_to_num(quality, nan=-1.0), axis=0)
    best = np.stack([part.per_query for part in parts])[chosen, np.arange(len(chosen))]
    columns = [pl.Series(metric, best[:, m]) for m, metric in enumerate(parts[0].metrics)]
    frame = parts[0].frame.with_columns(columns)
    return Evaluation(name, parts[0].protocol, parts[0].metrics, frame)


def mean_over_protocols(evaluations: Iterable[Evaluation]) -> dict[str, float]:
    """Return the unweighted mean over protocols of each metric they share.

    Over FashionIQ's three categories, ``rmean-fashioniq`` becomes its Rmean, the mean of averages.
    """
    tables = [evaluation.values for evaluation in evaluations]
    shared = [metric for metric in tables[0] if all(metric in table for table in tables)]
    return {metric: float(np.mean([table[metric] for table in tables])) for metric in shared}
