"""How much the numbers of a table move with the seed of a fusion and with the deal of the folds.

Every learned fuser is cross-fitted for each deal of the groups with each seed of its own; printed
are mean, standard deviation, lowest and highest of each metric, and the same for the difference of
every two fusers. Differences smaller than this spread are no finding, whatever their interval.

Run as ``python tests/benchmarks/spread.py STORE --fusers light,logistic --seeds 5 --deals 5``.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafm_core.catalog import PluginCatalog
from dafm_core.evaluation.crossfit import fit_and_evaluate
from dafm_core.evaluation.design import Folds
from dafm_core.metrics.spec import metric_label
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore


def measure(
    stack: SimilarityStack, fuser: str, *, n_seeds: int, n_deals: int, n_folds: int
) -> NDArray[np.float64]:
    """Return a fuser's metrics and their mean, in percent, (n_deals, n_seeds, n_metrics + 1)."""
    catalog = PluginCatalog.discover()
    values = []
    for deal in range(n_deals):
        parts = Folds(n_folds, seed=deal).parts(stack)
        for seed in range(n_seeds):
            made = catalog.load_fuser(fuser, {"seed": str(seed)})
            found = fit_and_evaluate(made, stack, parts)[0]
            values.append([*found.values.values(), float(found.mean_per_query.mean())])
    return 100 * np.array(values).reshape(n_deals, n_seeds, -1)


def summary(values: NDArray[np.float64]) -> list[str]:
    """Return mean, spread over everything, over seeds and over deals, of each column."""
    flat = values.reshape(-1, values.shape[-1])
    over_seeds = values.std(axis=1).mean(axis=0)
    over_deals = values.mean(axis=1).std(axis=0)
    return [
        f"{flat[:, m].mean():7.2f} [{flat[:, m].min():.2f}, {flat[:, m].max():.2f}] "
        f"sd {flat[:, m].std():.2f} (seeds {over_seeds[m]:.2f}, deals {over_deals[m]:.2f})"
        for m in range(flat.shape[1])
    ]


def main() -> None:
    """Measure, and print a block for each fuser and each pair."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--fusers", default="light,logistic,lambdamart")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--deals", type=int, default=5, help="partitions into folds")
    parser.add_argument("--folds", type=int, default=5)
    args = parser.parse_args()
    stack = SimilarityStore.open(args.store).stack()
    labels = [*map(metric_label, stack.dataset.metrics), "Mean"]
    print(f"{stack.protocol}: {args.seeds} seeds x {args.deals} deals into {args.folds} folds")
    measured = {}
    for name in args.fusers.split(","):
        measured[name] = measure(
            stack, name, n_seeds=args.seeds, n_deals=args.deals, n_folds=args.folds
        )
        _print(name, labels, measured[name])
    for one, other in combinations(measured, 2):
        _print(f"{one} minus {other}", labels, measured[one] - measured[other])


def _print(title: str, labels: list[str], values: NDArray[np.float64]) -> None:
    print(f"\n{title}")
    for label, line in zip(labels, summary(values), strict=True):
        print(f"  {label:<8}{line}")


if __name__ == "__main__":
    main()
