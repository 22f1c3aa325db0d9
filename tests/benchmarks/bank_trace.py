"""What a bank of training queries gives away: it knows which images they ask for.

    python tests/benchmarks/bank_trace.py STORE BANK [--folds 5]

BANK holds unlabelled queries about other images (for CIRR val: ``--dataset-set bank=test1``).
Every held-out query is ranked with either bank by a linear fusion that has not seen its group;
then only candidates are kept that some training query is about (its reference, subset or target),
or only the others. Where the banks differ on the former alone, the difference is a trace. Held-out
queries whose target was asked for in training are left out. Not collected by pytest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.ground.statistics import Resampler
from dafm_core.metrics.ranking import rank_targets
from dafm_core.store.store import SimilarityStore

DEPTHS = (1, 5, 10, 50)


def asked_for(dataset: Dataset) -> NDArray[np.bool_]:
    """Mark the images that some query of a dataset is about, (n_gallery,)."""
    asked = np.zeros(dataset.n_gallery, bool)
    for columns in (dataset.targets, dataset.subsets, dataset.excluded):
        asked[columns.values] = True
    return asked


def main() -> None:
    """Rank with both banks, and print both among asked and among unasked candidates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("bank", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    stack = SimilarityStore.open(arguments.store).stack()
    foreign = SimilarityStore.open(arguments.bank).stack()
    ranks: dict[str, list[NDArray[np.float64]]] = {}
    groups = []
    for train, test in stack.folds(arguments.folds):
        asked = asked_for(train.dataset)
        first = [target[0] for target in test.dataset.targets]
        fresh = test.take_queries(
            [q for q, t in zip(test.query_ids, first, strict=True) if not asked[t]]
        )
        targets = fresh.dataset.targets
        groups.append(fresh.dataset.groups)
        for whose, bank in (("training", None), ("foreign", foreign)):
            light = LightFusion(network="linear").fit(train, bank=bank)
            scores = light.fuse(fresh).scores
            is_target = np.zeros(scores.shape, bool)
            is_target[targets.rows, targets.values] = True
            for among, kept in (("all", asked | ~asked), ("asked", asked), ("unasked", ~asked)):
                seen = np.where(kept | is_target, scores, -np.inf)
                places = rank_targets(seen, targets, n_targets=targets.counts)
                ranks.setdefault(f"{among}, {whose}", []).append(places.greater + 1.0)
    resampler = Resampler(np.concatenate(groups))
    print(f"{len(np.concatenate(groups))} queries; targets compete with candidates that are")
    for among in ("all", "asked", "unasked"):
        pair = {w: np.concatenate(ranks[f"{among}, {w}"]) for w in ("training", "foreign")}
        for whose, rank in pair.items():
            shown = "  ".join(f"R@{k} {100 * (rank <= k).mean():5.2f}" for k in DEPTHS)
            print(f"{among:8} bank of {whose + ' queries':18} {shown}")
        better = np.log2(pair["foreign"] / pair["training"])[:, None]
        low, high, _ = resampler.summary(better)
        print(f"{'':8} log2 rank, foreign minus training: {better.mean():+.3f} ", end="")
        print(f"[{low[0]:+.3f}, {high[0]:+.3f}]")


if __name__ == "__main__":
    main()
