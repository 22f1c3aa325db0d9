"""What no labels, few and all labels reach, with a bank of the unlabelled training queries.

    python tests/benchmarks/few_labels.py STORE [--labels 40,160] [--draws 20] [--seed 0]

Every query is ranked by a fusion that has seen nothing of its group. Of each training part whole
groups are drawn as labelled until there are so many queries; the bank is made of all its queries.
The fusion is the linear one: fewer than 200 labels train no other. Not collected by pytest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dafm_core.evaluation.evaluate import evaluate
from dafm_core.fusion.debiased import DebiasedFusion
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.metrics.spec import metric_label
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore

METRICS = ("recall@1", "recall@5", "recall@10", "recall@50", "rsubset@1", "rmean")


def drawn(stack: SimilarityStack, n_labels: int, seed: int) -> list[str]:
    """Return whole groups, in random order, until they hold so many queries."""
    names, sizes = np.unique(stack.dataset.groups, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    n_groups = int(np.searchsorted(np.cumsum(sizes[order]), n_labels)) + 1
    return [str(name) for name in names[order[:n_groups]]]


def main() -> None:
    """Measure and print a line per number of labels."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--labels", default="40,160")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    stack = SimilarityStore.open(arguments.store).stack()
    sizes = [int(size) for size in arguments.labels.split(",")]
    found: dict[str, list[tuple[int, np.ndarray]]] = {}
    for fold, (train, test) in enumerate(stack.folds(arguments.folds, seed=arguments.seed)):
        light = LightFusion(network="linear").fit(train)
        fitted = {"no labels": [DebiasedFusion().fit(train)], "all labels": [light]}
        for size in sizes:
            fitted[f"{size} labels"] = [
                light.with_labels(drawn(train, size, 1000 * fold + draw))
                for draw in range(arguments.draws)
            ]
        for name, fusers in fitted.items():
            values = [evaluate(f, test, metrics=METRICS).per_query.mean(axis=0) for f in fusers]
            found.setdefault(name, []).append((test.n_queries, np.mean(values, axis=0)))
    print(f"{'':12}" + "".join(f"{metric_label(metric):>8}" for metric in METRICS))
    for name, parts in found.items():
        weights = [n for n, _ in parts]
        mean = np.average([values for _, values in parts], axis=0, weights=weights)
        print(f"{name:12}" + "".join(f"{100 * value:8.2f}" for value in mean))


if __name__ == "__main__":
    main()
