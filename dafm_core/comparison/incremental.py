"""What each provider is worth: every subset and every order of them, fused and evaluated alike.

The paper adds models one at a time (section 4.5, Fig. 3); here all 2^K subsets are fused, so that
every order is known, and the Shapley value of each provider with its interval. What comes out is
``subset_values.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.comparison.provenance import Provenance
from dafm_core.comparison.rows import (
    MEAN,
    Difference,
    Interval,
    intervals,
    measure_differences,
    with_mean,
)
from dafm_core.comparison.subset_fusing import evaluate_subsets
from dafm_core.comparison.subset_values import Incremental, Names, Step
from dafm_core.errors import OptionError, closest, expect
from dafm_core.evaluation.design import Design, Folds, Train
from dafm_core.evaluation.evaluate import shared_metrics
from dafm_core.fusion.base import Fuser
from dafm_core.ground.progress import Progress
from dafm_core.ground.statistics import Resampler
from dafm_core.store.stack import STACK, SimilarityStack

MAX_PROVIDERS: Final = 6
"""2^6 fusions and 720 orders; more is neither affordable nor readable."""


def incremental(
    stack: SimilarityStack,
    fuser: Fuser,
    *,
    name: str | None = None,
    design: Folds | Train | None = None,
    base: str | None = None,
    metrics: Sequence[str] | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
    labels: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    n_workers: int = 1,
) -> Incremental:
    """Fuse every subset of providers with fresh copies of one fuser, on held-out queries.

    Parameters
    ----------
    name : str, optional
        What tables call the fuser; by default its class.
    design : Folds or Train, default=Folds(5)
    base : str, optional
        Provider that every order starts with; all orders where left out.
    n_workers : int, default=1
        Processes among which the subsets are shared, as for ``compare``.
    stack, metrics, n_resamples, seed, labels, progress
        As ``compare``.

    Raises
    ------
    OptionError
        For more than six providers, or an unknown base.
    DatasetError, AlignmentError, FuserError
        As ``compare``.
    """
    expect(stack, SimilarityStack, where="incremental", hint=STACK)
    if stack.n_providers > MAX_PROVIDERS:
        raise OptionError(
            f"incremental: expected at most {MAX_PROVIDERS} providers, got {stack.n_providers} "
            f"({2**stack.n_providers} fusions). Choose some with stack.select(names)."
        )
    if base is not None and base not in stack.names:
        raise OptionError(f"incremental: no provider {base!r}{closest(base, stack.names)}")
    notes = tuple(stack.notes())
    stack = stack.measured()
    design = Folds() if design is None else expect(design, Design, where="incremental: design")
    parts = design.parts(stack)
    subsets = [s for n in range(stack.n_providers + 1) for s in combinations(stack.names, n)]
    evaluations = evaluate_subsets(
        *(stack, fuser, parts, subsets), metrics=metrics, progress=progress, n_workers=n_workers
    )
    averaged = shared_metrics(evaluations.values())
    values = {names: with_mean(e, averaged) for names, e in evaluations.items()}
    columns = (*evaluations[()].metrics, MEAN)
    resampler = Resampler(stack.dataset.groups, n_resamples=n_resamples, seed=seed)
    pairs = [(names, name) for names in subsets for name in stack.names if name not in names]
    gains = {pair: values[_joined(*pair)] - values[pair[0]] for pair in pairs}
    joined = {pair: gain for pair, gain in gains.items() if pair[0]}
    names_of = {pair: " + ".join(pair[0]) for pair in joined}
    steps = _differences(joined, names_of, columns, resampler)
    fused = {names: table for names, table in values.items() if names}
    return Incremental(
        protocol=stack.protocol,
        fuser=name or fuser.name,
        base=base,
        n_queries=stack.n_queries,
        n_groups=resampler.n_groups,
        metrics=evaluations[()].metrics,
        subsets=_shares(_intervals(fused, columns, resampler)),
        steps={(to, added): Step(added, to, cells) for (to, added), cells in steps.items()},
        shapley=_intervals(_shapley(gains, stack.names), columns, resampler),
        chance=dict(zip(columns, values[()].mean(axis=0).tolist(), strict=True)),
        vs_best=_behind_best(fused, columns, resampler),
        notes=notes,
        labels=dict(labels or {}),
        provenance=Provenance.of(
            stack,
            {name or fuser.name: fuser},
            design=design.key,
            bank=None,
            seed=seed,
            n_resamples=n_resamples,
        ),
        heads=max((e.heads for e in evaluations.values()), key=len),
    )


def _shapley(
    gains: Mapping[tuple[Names, str], NDArray[np.float64]], names: Names
) -> dict[str, NDArray[np.float64]]:
    """Return per-query Shapley values: each gain weighted by the share of orders it occurs in."""
    total: dict[str, NDArray[np.float64]] = {}
    for (to, added), gain in gains.items():
        share = 1 / (len(names) * comb(len(names) - 1, len(to)))
        total[added] = total.get(added, 0) + share * gain
    return {name: total[name] for name in names}


def _intervals(
    values: Mapping[Any, NDArray[np.float64]], columns: Sequence[str], resampler: Resampler
) -> dict[Any, dict[str, Interval]]:
    """Return mean and interval of each (n_queries, n_columns) array, by key and column."""
    if not values:
        return {}
    flat = np.concatenate(list(values.values()), axis=1)
    low, high = intervals(flat, resampler)
    cells = iter(zip(flat.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True))
    return {key: {column: Interval(*next(cells)) for column in columns} for key in values}


def _shares(values: Mapping[Names, Mapping[str, Interval]]) -> dict[Names, dict[str, Interval]]:
    """Return intervals of shares, which Student's t of few groups takes beyond 0 and 1."""
    return {
        names: {
            column: Interval(
                cell.value, float(np.clip(cell.low, 0, 1)), float(np.clip(cell.high, 0, 1))
            )
            for column, cell in cells.items()
        }
        for names, cells in values.items()
    }


def _differences(
    paired: Mapping[Any, NDArray[np.float64]],
    references: Mapping[Any, str],
    columns: Sequence[str],
    resampler: Resampler,
) -> dict[Any, dict[str, Difference]]:
    """Return what each (n_queries, n_columns) array of differences amounts to, by column; p-values
    are adjusted over all arrays.
    """
    if not paired:
        return {}
    flat = np.concatenate(list(paired.values()), axis=1)
    repeated = [references[key] for key in paired for _ in columns]
    cells = iter(measure_differences(flat, repeated, resampler, asked=[*columns] * len(paired)))
    return {key: {column: next(cells) for column in columns} for key in paired}


def _behind_best(
    values: Mapping[Names, NDArray[np.float64]], columns: Sequence[str], resampler: Resampler
) -> dict[Names, dict[str, Difference]]:
    """Return every set's difference to the best set of each column that another set leads."""
    found: dict[Names, dict[str, Difference]] = {names: {} for names in values}
    for c, column in enumerate(columns):
        means = {names: float(table[:, c].mean()) for names, table in values.items()}
        decided = {names: mean for names, mean in means.items() if not np.isnan(mean)}
        if len(decided) < 2:
            continue
        best = max(decided, key=lambda names: (decided[names], -len(names)))
        others = {n: values[n][:, [c]] - values[best][:, [c]] for n in decided if n != best}
        references = dict.fromkeys(others, " + ".join(best))
        for names, cells in _differences(others, references, [column], resampler).items():
            found[names] |= cells
    return found


def _joined(names: Names, name: str) -> Names:
    return tuple(sorted((*names, name)))
