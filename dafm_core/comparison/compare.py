"""Learned against static against single, on the same held-out queries: values, intervals, tests.

Every difference is paired by query and every interval resamples whole groups. What comes out is
``result.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dafm_core.catalog import PluginCatalog
from dafm_core.comparison.audit import audit
from dafm_core.comparison.by_type import TypeRows, measure_types
from dafm_core.comparison.gallery_order import order_changes
from dafm_core.comparison.provenance import Provenance
from dafm_core.comparison.result import Comparison
from dafm_core.comparison.rows import Row, RowKind, summarise
from dafm_core.errors import OptionError, expect
from dafm_core.evaluation.crossfit import fit_and_evaluate_all, tune_and_evaluate
from dafm_core.evaluation.design import AsGiven, Design, Part, leakage
from dafm_core.evaluation.evaluate import Evaluation, evaluate_providers, oracle, shared_metrics
from dafm_core.evaluation.trials import TrialLog
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.static.tuning import TunedRule
from dafm_core.ground.progress import Progress
from dafm_core.ground.statistics import Resampler
from dafm_core.store.stack import STACK, SimilarityStack

_KINDS: Final = ("single", "static", "learned")


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
    expect(stack, SimilarityStack, where="compare", hint=STACK)
    design = AsGiven() if design is None else design
    expect(design, Design, where="compare: design", hint="Give Folds(5), Train(stack) or nothing.")
    notes = tuple(stack.notes())
    stack = stack.measured()
    fusers = _loaded(fusers, stack)
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
    evaluations = _in_order(singles | fused, fusers)
    groups, texts = design.groups(stack.dataset), tuple(stack.dataset.queries["text"])
    summary = _summarise(
        evaluations,
        fusers,
        best_possible=oracle(singles),
        texts=texts,
        groups=groups,
        n_resamples=n_resamples,
        seed=seed,
    )
    audits = audit(stack, metrics=metrics, leakage=leakage(parts))
    audits = replace(audits, order=replace(audits.order, changes=changes))
    if trials:
        counted = trials.add(stack.dataset, fusers.values(), stack.names, design=design.key)
        audits = replace(audits, trials=counted)
    if progress:
        progress("intervals and tests", 1, 1)
    return Comparison(
        protocol=stack.protocol,
        design=design.words,
        metrics=evaluations[stack.names[0]].metrics,
        averaged=summary.averaged,
        rows=summary.rows,
        oracle=summary.oracle,
        audits=audits,
        evaluations=evaluations,
        n_queries=stack.n_queries,
        n_groups=summary.n_groups,
        provenance=Provenance.of(
            stack, fusers, design=design.key, bank=bank, seed=seed, n_resamples=n_resamples
        ),
        notes=notes,
        labels={name: label for name, label in (labels or {}).items() if name in evaluations},
        groups=tuple(map(str, groups)),
        by_type=summary.by_type,
        texts=texts,
    )


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
    rules: dict[str, TunedRule[Any]] = {}
    if len(parts) > 1 and not stack.gallery.unknown:  # else each has its own undecided queries
        rules = {n: rule for n, fuser in fusers.items() if (rule := fuser.as_rule()) is not None}

    def tune() -> None:
        if progress:
            progress("tuned rules", 0, len(rules))
        evaluations.update(tune_and_evaluate(rules, stack, parts, metrics=metrics))
        if progress:
            progress("tuned rules", len(rules), len(rules))

    rest = {name: fuser for name, fuser in fusers.items() if name not in rules}
    found = fit_and_evaluate_all(
        rest,
        stack,
        parts,
        shuffled=shuffled,
        metrics=metrics,
        bank=bank,
        progress=progress,
        n_workers=n_workers,
        meanwhile=tune if rules else None,
    )
    evaluations |= {name: given for name, (given, _) in found.items()}
    changes = {name: order_changes(*found[name]) for name in rest if fusers[name].kind == "learned"}
    return evaluations, changes


def _loaded(
    fusers: Mapping[str, Fuser] | Sequence[str], stack: SimilarityStack
) -> Mapping[str, Fuser]:
    """Return fusers by the names of their rows, none of them taken."""
    taken = [name for name in fusers if name in stack.names or name == "oracle"]
    if taken:
        raise OptionError(f"compare: the row name {taken[0]!r} is taken by a provider. Rename it.")
    if isinstance(fusers, Mapping):
        return fusers
    catalog = PluginCatalog.discover()
    return {name: catalog.load_fuser(name) for name in fusers}


def _in_order(
    evaluations: Mapping[str, Evaluation], fusers: Mapping[str, Fuser]
) -> dict[str, Evaluation]:
    """Return evaluations under the names of their rows: singles, static rules, learned fusers."""
    order = sorted(evaluations, key=lambda name: _KINDS.index(_kind(name, fusers)))
    return {name: replace(evaluations[name], name=name) for name in order}


def _kind(name: str, fusers: Mapping[str, Fuser]) -> RowKind:
    return fusers[name].kind if name in fusers else "single"


class _Summary(NamedTuple):
    """What intervals and tests make of all evaluations."""

    averaged: tuple[str, ...]
    rows: tuple[Row, ...]
    oracle: Row
    by_type: tuple[TypeRows, ...]
    n_groups: int


def _summarise(
    evaluations: Mapping[str, Evaluation],
    fusers: Mapping[str, Fuser],
    *,
    best_possible: Evaluation,
    texts: Sequence[str],
    groups: NDArray[Any],
    n_resamples: int,
    seed: int,
) -> _Summary:
    kinds = {name: _kind(name, fusers) for name in evaluations}
    complexity = {name: fusers[name].complexity if name in fusers else 0 for name in evaluations}
    averaged = shared_metrics(evaluations.values())
    resampler = Resampler(groups, n_resamples=n_resamples, seed=seed)
    summary = partial(summarise, resampler=resampler, averaged=averaged)
    return _Summary(
        averaged=averaged,
        rows=summary(evaluations, kinds, complexity=complexity),
        oracle=summary({"oracle": best_possible}, {"oracle": "oracle"})[0],
        by_type=measure_types(
            evaluations,
            kinds,
            texts=texts,
            groups=groups,
            averaged=averaged,
            n_resamples=n_resamples,
            seed=seed,
        ),
        n_groups=resampler.n_groups,
    )


def _shuffled(stack: SimilarityStack, seed: int) -> list[str]:
    order = np.random.default_rng(seed).permutation(stack.n_gallery)
    return [stack.gallery_ids[column] for column in order]
