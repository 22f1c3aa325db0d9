"""A comparison's rows on the queries of each type: for which texts is which method better?

Values of every metric, and differences on their mean. Five types are five looks at the same
queries, so p-values are adjusted over all types and rows together. How types are told, and how
often that is right, is ``evaluation/query_types.py``'s; the table is ``type_table.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dafm_core.comparison.rows import MEAN, Row, RowKind, summarise
from dafm_core.evaluation.evaluate import Evaluation
from dafm_core.evaluation.query_types import query_types
from dafm_core.ground.statistics import Resampler, holm

_AGAINST: Final = ("vs_best_single", "vs_best_static", "vs_best_learned", "vs_best")


@dataclass(frozen=True, kw_only=True)
class TypeRows:
    """The rows of a comparison on the queries of one type.

    Parameters
    ----------
    name : str
        Of ``QUERY_TYPES``.
    n_queries, n_groups : int
        A query may be of several types.
    rows : tuple of Row
        In the order of the comparison; differences are on the mean of the metrics only.
    """

    name: str
    n_queries: int
    n_groups: int
    rows: tuple[Row, ...] = field(repr=False)

    def row(self, name: str) -> Row:
        """Return the row called ``name``."""
        return next(row for row in self.rows if row.name == name)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as of a comparison."""
        return {
            "name": self.name,
            "n_queries": self.n_queries,
            "n_groups": self.n_groups,
            "rows": [row.to_json() for row in self.rows],
        }


def measure_types(
    evaluations: Mapping[str, Evaluation],
    kinds: Mapping[str, RowKind],
    *,
    texts: Sequence[str],
    groups: NDArray[Any],
    averaged: Sequence[str],
    n_resamples: int,
    seed: int,
) -> tuple[TypeRows, ...]:
    """Return the rows of a comparison by query type.

    A type of no query, or whose queries are of one group, is left out: nothing can be said of how
    groups differ.

    Parameters
    ----------
    evaluations, kinds, averaged
        As :func:`~dafm_core.comparison.rows.summarise`.
    texts, groups : of length n_queries
        In the order of the evaluations' frames.
    n_resamples, seed
        Of intervals and tests.
    """
    found = []
    for name, of_type in query_types(texts).items():
        if len(set(groups[of_type].tolist())) < 2:
            continue
        resampler = Resampler(groups[of_type], n_resamples=n_resamples, seed=seed)
        chosen = {row: _of(evaluation, of_type) for row, evaluation in evaluations.items()}
        rows = summarise(chosen, kinds, resampler, averaged=averaged, tested=(MEAN,))
        found.append(
            TypeRows(
                name=name,
                n_queries=int(of_type.sum()),
                n_groups=resampler.n_groups,
                rows=rows,
            )
        )
    return _adjusted_together(found)


def long_frame(types: Sequence[TypeRows]) -> pl.DataFrame:
    """Return one line per type, row and metric, in percent: for parquet or a spreadsheet.

    Columns are ``type, n_queries, n_groups, row, kind, metric, value, low, high`` and, of the mean
    of the metrics, the differences ``vs_best_single_value`` and so on.
    """
    lines = []
    for of_type in types:
        for row in of_type.rows:
            values = row.to_json()
            for metric, cell in values["metrics"].items():
                line = {
                    "type": of_type.name,
                    "n_queries": of_type.n_queries,
                    "n_groups": of_type.n_groups,
                    "row": row.name,
                    "kind": row.kind,
                    "metric": metric,
                }
                line |= cell or dict.fromkeys(("value", "low", "high"))  # undecided
                for against in ("vs_best_single", "vs_best_static"):
                    difference = values[against].get(metric) or {}
                    for key in ("reference", "value", "low", "high", "p_holm"):
                        line[f"{against}_{key}"] = difference.get(key)
                lines.append(line)
    return pl.DataFrame(lines, infer_schema_length=None)


def _of(evaluation: Evaluation, chosen: NDArray[np.bool_]) -> Evaluation:
    return replace(evaluation, frame=evaluation.frame.filter(pl.Series(chosen)))


def _adjusted_together(types: Sequence[TypeRows]) -> tuple[TypeRows, ...]:
    """Return the same with p-values of one question adjusted over all types and rows (Holm)."""
    tables = [list(of_type.rows) for of_type in types]
    for against in _AGAINST:
        places = [
            (rows, r)
            for rows in tables
            for r, row in enumerate(rows)
            if MEAN in getattr(row, against)
        ]
        p_values = holm([getattr(rows[r], against)[MEAN].p_value for rows, r in places])
        for (rows, r), p_holm in zip(places, p_values.tolist(), strict=True):
            changed: dict[str, Any] = {
                against: {MEAN: replace(getattr(rows[r], against)[MEAN], p_holm=p_holm)}
            }
            rows[r] = replace(rows[r], **changed)
    return tuple(
        replace(of_type, rows=tuple(rows)) for of_type, rows in zip(types, tables, strict=True)
    )
