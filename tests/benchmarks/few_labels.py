"""What no labels, few and all labels reach, with a bank of the unlabelled training queries.

    python tests/benchmarks/few_labels.py STORE [--labels 40,160] [--draws 20] [--partitions 1]

Every query is ranked by a fusion that has seen nothing of its group. Of each training part whole
groups are drawn as labelled until there are so many queries; the bank is made of all its queries.
The fusion is the linear one: fewer than 200 labels train no other. Not collected by pytest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dafm_core.evaluation.learning_curve import learning_curve
from dafm_core.metrics.spec import metric_label
from dafm_core.store.store import SimilarityStore

RECALLS = ("recall@1", "recall@5", "recall@10", "recall@50")
METRICS = (*RECALLS, "rsubset@1", "rmean")


def main() -> None:
    """Measure and print a row per number of labels: mean over the draws, and their spread."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--labels", default="40,160")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--prior", type=float, default=0.0, help="its strength; 0: chosen")
    arguments = parser.parse_args()
    stack = SimilarityStore.open(arguments.store).stack()
    metrics = METRICS if stack.dataset.has_subsets else RECALLS
    curves = [
        learning_curve(
            stack,
            sizes=[int(size) for size in arguments.labels.split(",") if size],
            n_draws=arguments.draws,
            n_folds=arguments.folds,
            seed=seed,
            metrics=metrics,
            options={"prior": arguments.prior},
        )
        for seed in range(arguments.partitions)
    ]
    means = np.mean([curve.means for curve in curves], axis=0)
    spread = np.mean([curve.values.std(axis=1) for curve in curves], axis=0)
    print(f"{stack.protocol}: {arguments.draws} draws, {arguments.partitions} partitions")
    print(f"{'labels':12}" + "".join(f"{metric_label(metric):>16}" for metric in metrics))
    for size, mean, sd in zip(curves[0].sizes, means, spread, strict=True):
        cells = (f"{100 * m:.2f} (sd {100 * s:.2f})" for m, s in zip(mean, sd, strict=True))
        print(f"{size:<12}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
