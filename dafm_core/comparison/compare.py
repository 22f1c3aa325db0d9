"""Learned against static against single, on the same held-out queries: values, intervals, tests.

Every difference is paired by query and every interval resamples whole groups. Nothing is printed
here except by ``str``; tables and pages are ``reporting``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from markupsafe import escape

from dafm_core.catalog import PluginCatalog
from dafm_core.comparison.audit import Audits, audit, order_changes
from dafm_core.comparison.decision import Decision, decide
from dafm_core.comparison.provenance import Provenance
from dafm_core.comparison.rows import MEAN, Row, RowKind, summarise
from dafm_core.comparison.tables import comparison_table
from dafm_core.comparison.verdict import Verdict, verdict
from dafm_core.errors import OptionError
from dafm_core.evaluation.crossfit import fit_and_evaluate_all, tune_and_evaluate
from dafm_core.evaluation.design import AsGiven, Design, Part, leakage
from dafm_core.evaluation.evaluate import (
    Evaluation,
    by_tag,
    evaluate_providers,
    oracle,
    shared_metrics,
)
from dafm_core.evaluation.trials import TrialLog
from dafm_core.fusion.base import Fuser, Progress
from dafm_core.ground.statistics import Resampler
from dafm_core.ground.undecided import WORD
from dafm_core.metrics.spec import heads_words, metric_label, undecided_words
from dafm_core.store.stack import SimilarityStack
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
        """Every row's per-query metrics: ``row, query_id, group`` and one column per metric."""
        frames = [
            evaluation.frame.select(pl.lit(name).alias("row"), pl.all())
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
        lines.append(" " * width + " ".join(f"{name:>11}" for name in names))
        for shown, row in rows:
            cells = " ".join(
                f"{100 * cell.value:11.2f}" if cell.decided else f"{WORD:>11}"
                for cell in (row.metrics[name] for name in names)
            )
            lines.append(f"{shown:<{width}}{cells}")
        return "\n".join([*lines, *self.heads, *self.undecided, self.verdict.reason])


def compare(
    stack: SimilarityStack,
    fusers: Mapping[str, Fuser] | Sequence[str],
    *,
    design: Design | None = None,
    bank: SimilarityStack | None = None,
    metrics: Sequence[str] | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
    trials: TrialLog | None = None,
    labels: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    n_workers: int = 1,
) -> Comparison:
    """Compare fusers with each other, with every single provider and with the best of them.

    Parameters
    ----------
    stack : SimilarityStack
        Queries to compare on; those that name no target are left out, and a note says so.
    fusers : mapping of row name to Fuser, or sequence of names of registered fusers
    design : Design, default=AsGiven()
        How training and held-out queries are separated: ``Folds(5, seed=0)``, ``Train(stack)`` or
        ``AsGiven()``.
    bank : SimilarityStack, optional
        Unlabelled queries for the query banks of fusers that are fitted here.
    metrics : sequence of str, optional
        By default the dataset's own.
    n_resamples : int, default=10_000
        For intervals and tests.
    seed : int, default=0
        Of resamples and of the shuffled gallery; designs and fusers have their own.
    trials : TrialLog, optional
        Where to count what has been measured on these queries.
    labels : mapping of str to str, optional
        What tables call providers and fusers, e.g. ``{"clip4cir": "CLIP4CIR"}``.
    progress : callable, optional
        Called as ``progress(what, done, total)``.
    n_workers : int, default=1
        Processes among which the held-out parts are shared; the numbers are the same. More than one
        needs a script that starts below ``if __name__ == "__main__":``.

    Raises
    ------
    OptionError
        If a row is named like a provider, or a metric is unknown.
    LeakageError
        If a fuser given fitted has seen a query of the stack.
    DatasetError, AlignmentError, FuserError
        As ``evaluate`` and ``Fuser.fit``.
    """
    design, notes = design or AsGiven(), tuple(stack.notes())
    stack = stack.measured()
    if not isinstance(fusers, Mapping):
        catalog = PluginCatalog.discover()
        fusers = {name: catalog.load_fuser(name) for name in fusers}
    _check_names(fusers, stack)
    parts = design.parts(stack)
    singles = evaluate_providers(stack, metrics=metrics)
    fused, changes = _evaluate_fusers(
        fusers,
        stack,
        parts,
        shuffled=_shuffled(stack, seed),
        bank=bank,
        metrics=metrics,
        progress=progress,
        n_workers=n_workers,
    )
    if progress:
        progress("intervals and tests", 0, 1)
    kinds: dict[str, RowKind] = dict.fromkeys(singles, "single")
    complexity = dict.fromkeys(singles, 0) | {name: f.complexity for name, f in fusers.items()}
    kinds |= {name: fuser.kind for name, fuser in fusers.items()}
    order = sorted(kinds, key=lambda name: ("single", "static", "learned").index(kinds[name]))
    evaluations = {name: replace((singles | fused)[name], name=name) for name in order}
    groups = design.groups(stack.dataset)
    resampler = Resampler(groups, n_resamples=n_resamples, seed=seed)
    audits = audit(stack, metrics=metrics, leakage=leakage(parts))
    if trials:
        counted = trials.add(stack.dataset, fusers.values(), stack.names, design=design.key)
        audits = replace(audits, trials=counted)
    best_possible = oracle(singles)
    averaged = shared_metrics(evaluations.values())
    summary = partial(summarise, resampler=resampler, averaged=averaged)
    result = Comparison(
        protocol=stack.protocol,
        design=design.words,
        metrics=best_possible.metrics,
        averaged=averaged,
        rows=summary(
            evaluations,
            kinds,
            complexity=complexity,
        ),
        oracle=summary({"oracle": best_possible}, {"oracle": "oracle"})[0],
        audits=replace(audits, order=replace(audits.order, changes=changes)),
        evaluations=evaluations,
        n_queries=stack.n_queries,
        n_groups=resampler.n_groups,
        provenance=Provenance.of(
            stack, fusers, design=design.key, bank=bank, seed=seed, n_resamples=n_resamples
        ),
        notes=notes,
        labels={name: label for name, label in (labels or {}).items() if name in kinds},
        groups=tuple(map(str, groups)),
    )
    if progress:
        progress("intervals and tests", 1, 1)
    return result


def _evaluate_fusers(
    fusers: Mapping[str, Fuser],
    stack: SimilarityStack,
    parts: Sequence[Part],
    *,
    shuffled: Sequence[str],
    bank: SimilarityStack | None,
    metrics: Sequence[str] | None,
    progress: Progress | None,
    n_workers: int,
) -> tuple[dict[str, Evaluation], dict[str, dict[str, float]]]:
    """Return every fuser's evaluation, and what learned ones lose when the gallery is shuffled."""
    evaluations: dict[str, Evaluation] = {}
    if len(parts) > 1 and not stack.gallery.unknown:  # else each has its own undecided queries
        rules = {n: rule for n, fuser in fusers.items() if (rule := fuser.as_rule()) is not None}
        if progress and rules:
            progress("tuned rules", 0, len(rules))
        evaluations |= tune_and_evaluate(rules, stack, parts, metrics=metrics)
        if progress and rules:
            progress("tuned rules", len(rules), len(rules))
    rest = {name: fuser for name, fuser in fusers.items() if name not in evaluations}
    found = fit_and_evaluate_all(
        rest,
        stack,
        parts,
        shuffled=shuffled,
        metrics=metrics,
        bank=bank,
        progress=progress,
        n_workers=n_workers,
    )
    evaluations |= {name: given for name, (given, _) in found.items()}
    changes = {name: order_changes(*found[name]) for name in rest if fusers[name].kind == "learned"}
    return evaluations, changes


def _check_names(fusers: Iterable[str], stack: SimilarityStack) -> None:
    taken = [name for name in fusers if name in stack.names or name == "oracle"]
    if taken:
        raise OptionError(f"compare: the row name {taken[0]!r} is taken by a provider. Rename it.")


def _shuffled(stack: SimilarityStack, seed: int) -> list[str]:
    order = np.random.default_rng(seed).permutation(stack.n_gallery)
    return [stack.gallery_ids[column] for column in order]
