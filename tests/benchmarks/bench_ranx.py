"""Fusion here against ranx after its own optimisation: quality and time, in one run.

    python tests/benchmarks/bench_ranx.py STORE [--depth 100] [--metric recall@10]

Both tune on one half of the queries, split by group, and are measured on the other by the same
metrics. ranx sees the first DEPTH candidates of each provider, as it is meant to be used; its time
leaves compilation out. Not collected by pytest.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import ranx

from dafm_core.datasets.base import Dataset
from dafm_core.evaluation.evaluate import evaluate, evaluate_run
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.fusion.static import MeanFusion, VotingFusion, WeightedFusion
from dafm_core.store.run import Run
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore

THEIRS = (
    ("rrf", None),
    ("wsum", "min-max"),
    ("wsum", "zmuv"),
    ("mixed", "min-max"),
    ("wmnz", "min-max"),
)
"""(method, norm); those with parameters are given to ``ranx.optimize_fusion``."""


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result and the seconds it took."""
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def ranx_runs(stack: SimilarityStack, depth: int) -> list[ranx.Run]:
    """Return each provider's first candidates as ranx wants them."""
    tables: list[dict[str, dict[str, float]]] = [{} for _ in stack.names]
    for row, query_id in enumerate(stack.query_ids):
        for k, scores in enumerate(stack.tile(row, row + 1)[0]):
            top = np.argsort(-scores)[:depth]
            tables[k][query_id] = {stack.gallery_ids[c]: float(scores[c]) for c in top}
    return [ranx.Run(table, name=name) for table, name in zip(tables, stack.names, strict=True)]


def ranx_qrels(dataset: Dataset) -> ranx.Qrels:
    """Return the targets as ranx wants them."""
    rows = dataset.queries.select("query_id", "targets").iter_rows()
    return ranx.Qrels({query_id: dict.fromkeys(targets, 1) for query_id, targets in rows})


def optimised(
    runs: list[ranx.Run], dataset: Dataset, method: str, norm: str | None, metric: str
) -> dict[str, Any]:
    """Return the parameters that ranx finds best."""
    qrels, options = ranx_qrels(dataset), {"norm": norm, "method": method, "metric": metric}
    found: dict[str, Any] = ranx.optimize_fusion(qrels, runs, show_progress=False, **options)
    return found


def dense(fused: ranx.Run, dataset: Dataset, name: str) -> Run:
    """Return ranx's truncated result as full rows; what it does not list is tied at the end."""
    table = fused.to_dict()
    scores = np.zeros((dataset.n_queries, dataset.n_gallery), np.float32)
    for row, query_id in enumerate(dataset.query_ids):
        listed = table.get(query_id, {})
        columns = dataset.gallery_ids.positions(list(listed))
        values = np.fromiter(listed.values(), np.float64, len(listed))
        scores[row] = values.min(initial=0.0) - 1.0
        scores[row, columns] = values
    return Run(name, dataset.query_ids, dataset.gallery_ids, scores)


def main() -> None:
    """Tune both on one half, measure both on the other, print a table."""
    warnings.filterwarnings("ignore", message="unsafe cast", module="ranx")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--metric", default="recall@10", help="what ranx optimises")
    arguments = parser.parse_args()
    stack = SimilarityStore.open(arguments.store).stack()
    fit, held_out = stack.split(test_size=0.5, seed=0)
    few = fit.take_queries(fit.query_ids[:4])
    for method, norm in THEIRS:  # compiles, untimed
        runs = ranx_runs(few, arguments.depth)
        optimised(runs, few.dataset, method, norm, arguments.metric)
    (fit_runs, test_runs), built = timed(
        lambda: [ranx_runs(part, arguments.depth) for part in (fit, held_out)]
    )
    print(f"{stack.protocol}: {fit.n_queries} + {held_out.n_queries} queries")
    print(f"ranx runs of depth {arguments.depth} built in {built:.1f} s")
    print(f"{'':28}{'tune s':>9}{'fuse s':>9}{'R@1':>8}{'R@10':>8}{'R@50':>8}")
    fastest = {"ranx": np.inf, "dafm": np.inf}

    def show(name: str, tune: float, fuse: float, values: dict[str, float]) -> None:
        side = name.split()[0]
        fastest[side] = min(fastest[side], fuse)
        cells = "".join(f"{100 * values[f'recall@{k}']:8.2f}" for k in (1, 10, 50))
        print(f"{name:28}{tune:9.2f}{fuse:9.2f}{cells}")

    metrics = ["recall@1", "recall@10", "recall@50"]
    for method, norm in THEIRS:
        parameters, tune = timed(
            lambda m=method, n=norm: optimised(fit_runs, fit.dataset, m, n, arguments.metric)
        )
        fused, fuse = timed(
            lambda m=method, n=norm, p=parameters: ranx.fuse(test_runs, norm=n, method=m, params=p)
        )
        run = dense(fused, held_out.dataset, method)
        values = evaluate_run(run, held_out.dataset, metrics=metrics).values
        show(f"ranx {method} {norm or ''}", tune, fuse, values)
    for ours in (MeanFusion(), VotingFusion("rrf"), WeightedFusion(), LightFusion()):
        fitted, tune = timed(lambda f=ours: f.fit(fit))
        _, fuse = timed(lambda f=fitted: f.fuse(held_out))
        values = evaluate(fitted, held_out, metrics=metrics).values
        show(f"dafm {type(ours).__name__}", tune, fuse, values)
    ratio = fastest["ranx"] / fastest["dafm"]
    print(f"fastest fuse, ranx on {arguments.depth} candidates / dafm on all: {ratio:.1f}")


if __name__ == "__main__":
    main()
