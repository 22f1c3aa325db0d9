"""What ``compare`` returns: rows, verdict and audits as one value, as JSON and as text.

Nothing is measured here; tables and pages are ``reporting``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl
from markupsafe import escape

from dafm_core.comparison.audit import Audits
from dafm_core.comparison.by_type import TypeRows
from dafm_core.comparison.decision import Decision, decide
from dafm_core.comparison.provenance import Provenance
from dafm_core.comparison.rows import MEAN, Row
from dafm_core.comparison.tables import comparison_table
from dafm_core.comparison.verdict import Verdict, verdict
from dafm_core.evaluation.evaluate import Evaluation, by_tag
from dafm_core.evaluation.query_types import types_of_each
from dafm_core.ground.undecided import WORD
from dafm_core.metrics.spec import heads_words, metric_label, undecided_words
from dafm_core.tables.markup import notebook_html

if TYPE_CHECKING:
    from dafm_core.comparison.inspection import Cost


@dataclass(frozen=True, eq=False)
class Comparison:
    """What ``compare`` returns.

    Parameters
    ----------
    protocol : str
    design : str
        How training and held-out queries were separated, in words.
    metrics : tuple of str
        The table's columns, the headline first.
    averaged : tuple of str
        Those whose mean is the table's last column: all that no row leaves undecided.
    rows : tuple of Row
        Singles, then static rules, then learned fusers; the oracle is apart, nothing can reach it.
    oracle : Row
        Per query the single model that is best on the mean of the metrics; see ``oracle``.
    audits : Audits
    evaluations : mapping of str to Evaluation
        Per-query frames of every row.
    n_queries, n_groups : int
    provenance : Provenance
        What it takes to do it again.
    notes : tuple of str
        What the dataset names in vain, e.g. targets outside the gallery; a line per kind.
    labels : mapping of str to str
        What tables call a row, e.g. "CLIP4CIR" for ``clip4cir``; its name where left out.
    groups : tuple of str
        Of each query, as they are resampled.
    by_type : tuple of TypeRows
        The rows on the queries of each type; see ``by_type.py``.
    texts : tuple of str
        Of each query.
    """

    protocol: str
    design: str
    metrics: tuple[str, ...]
    averaged: tuple[str, ...]
    rows: tuple[Row, ...]
    oracle: Row
    audits: Audits
    evaluations: Mapping[str, Evaluation] = field(repr=False)
    n_queries: int
    n_groups: int
    provenance: Provenance
    notes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = field(default=(), repr=False)
    by_type: tuple[TypeRows, ...] = field(default=(), repr=False)
    texts: tuple[str, ...] = field(default=(), repr=False)

    def label(self, name: str) -> str:
        """Return what tables and sentences call a row."""
        return self.labels.get(name, name)

    def __repr__(self) -> str:
        rows = ", ".join(row.name for row in self.rows)
        return f"<Comparison on {self.protocol}, {self.n_queries} queries: {rows}>"

    def row(self, name: str) -> Row:
        """Return the row called ``name``."""
        return next(row for row in self.rows if row.name == name)

    @cached_property
    def verdict(self) -> Verdict:
        """What to deploy, and why (see ``verdict.py``)."""
        return verdict(self.rows, label=self.label)

    def decision(
        self, *, costs: Mapping[str, Cost] | None = None, stores: Sequence[str] = ("STORE",)
    ) -> Decision:
        """Return what to do and what to know before; see ``decision.decide``."""
        trials = self.audits.trials.words if self.audits.trials else ""
        return decide(self, costs=costs, trials=trials, stores=stores)

    @property
    def undecided(self) -> list[str]:
        """What is left out because candidates that nobody has scored decide it, a line each."""
        lines = [
            f"{self.label(row.name)}: {undecided_words(row.undecided)}"
            for row in self.rows
            if row.undecided
        ]
        if not lines:
            return []
        mean = ", ".join(map(metric_label, self.averaged)) or "nothing"
        left_out = (
            "What is undecided is no number: it is left out of differences, means, the verdict "
            f"and charts. The mean is that of {mean}."
        )
        return [*lines, left_out]

    @property
    def heads(self) -> list[str]:
        """Which score each metric is of, a line for each row with two heads."""
        return [
            heads_words(row.name, row.heads, self.metrics)
            for row in self.rows
            if len(row.heads) > 1
        ]

    @property
    def frame(self) -> pl.DataFrame:
        """Every row's per-query metrics: ``row, query_id, group``, one column per metric, and the
        query's types as a list.
        """
        names = pl.Series("query_types", types_of_each(self.texts), dtype=pl.List(pl.String))
        frames = [
            evaluation.frame.select(pl.lit(name).alias("row"), pl.all(), names)
            for name, evaluation in self.evaluations.items()
        ]
        return pl.concat(frames)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: all metrics and differences in percent, p-values and counts as is."""
        return {
            "protocol": self.protocol,
            "n_queries": self.n_queries,
            "n_groups": self.n_groups,
            "design": self.design,
            "metrics": list(self.metrics),
            "averaged": list(self.averaged),
            "rows": [row.to_json() for row in self.rows],
            "oracle": self.oracle.to_json(),
            "verdict": asdict(self.verdict),
            "audits": self.audits.to_json(),
            "notes": list(self.notes),
            "by_tag": by_tag(self.evaluations, self.metrics),
            "by_type": [of_type.to_json() for of_type in self.by_type],
            "labels": dict(self.labels),
            "provenance": self.provenance.to_json(),
        }

    def _repr_html_(self) -> str:
        """Return the verdict and the table as notebooks show them."""
        return f"<p>{escape(self.verdict.reason)}</p>{notebook_html(comparison_table(self))}"

    def __str__(self) -> str:
        names = [*self.metrics, MEAN]
        rows = [(self.label(row.name), row) for row in (*self.rows, self.oracle)]
        width = max(len(name) for name, _ in rows) + 2
        lines = [
            f"{self.protocol}: {self.n_queries} queries, {self.n_groups} groups; {self.design}"
        ]
        lines.append(" " * width + " ".join(f"{metric_label(name):>11}" for name in names))
        for shown, row in rows:
            cells = " ".join(
                f"{100 * cell.value:11.2f}" if cell.decided else f"{WORD:>11}"
                for cell in (row.metrics[name] for name in names)
            )
            lines.append(f"{shown:<{width}}{cells}")
        return "\n".join([*lines, *self.heads, *self.undecided, self.verdict.reason])
