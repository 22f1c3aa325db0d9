"""A synthetic store of strong models on real queries: what the defaults do where little is wrong.

    python tests/benchmarks/strong.py SOURCE STORE [--seed 0]
    dafm compare STORE --fusers weighted,voting-rrf,debiased,logistic,lambdamart,light

Nothing here is a result about any model. From a store of weak real rows (the four captions
providers on CIRR val) it takes queries, groups, subsets, targets and the rows with their hubs. To
them it adds errors that all models share, errors of each model's own, and what a strong model
knows: targets and, less so, the other members of their subset are lifted, on some queries by all
models more than on others. The singles' R@10 is about 85 to 97.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dafm_core.ground.normalize import zscore_rows
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore

ROWS: Final = 0.5
"""What is left of the real rows, in standard deviations."""
SHARED, OWN = 0.5, 0.6
"""Standard deviation of the errors of single cells, of all models and of each."""
LIFTS: Final = (4.4, 3.1, 3.9, 4.7)
"""How far each model lifts a target, by the providers' order."""
LIFT_SHARED, LIFT_OWN = 1.2, 0.9
"""Standard deviation over queries of that lift, for all models and for each."""
SUBSET: Final = 0.65
"""The share of the lift that the target's rivals in the subset get."""
BLOCK: Final = 128


def blocks(stack: SimilarityStack, *, seed: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (first row, scores (B, K, N)); a block's numbers follow from the seed and its place."""
    targets, subsets = stack.dataset.targets, stack.dataset.subsets
    for rows, tile in stack.tiles(BLOCK):
        rng = np.random.default_rng([seed, rows.start])
        n_queries, n_models, n_gallery = tile.shape
        real = np.where(np.isfinite(tile), zscore_rows(tile), 0)
        scores = ROWS * real + SHARED * rng.standard_normal((n_queries, 1, n_gallery), np.float32)
        scores += OWN * rng.standard_normal(tile.shape, np.float32)
        lifts = np.resize(LIFTS, n_models) + LIFT_SHARED * rng.standard_normal((n_queries, 1))
        lifts = np.maximum(lifts + LIFT_OWN * rng.standard_normal((n_queries, n_models)), 0)
        lifted = np.zeros((n_queries, n_gallery))
        within, right = subsets.part(rows), targets.part(rows)
        lifted[within.rows, within.values] = SUBSET
        lifted[right.rows, right.values] = 1
        scores += (lifts[:, :, None] * lifted[:, None]).astype(np.float32)
        yield rows.start, scores.astype(np.float32)


def write(source: SimilarityStack, path: Path, *, seed: int = 0) -> SimilarityStore:
    """Write a store of models called ``strong-0``, ``strong-1``, ... made of the source's rows."""
    dataset = replace(source.dataset, protocol=f"synthetic-strong-{source.protocol}")
    store = SimilarityStore.create(path, dataset)
    for model, name in enumerate(source.names):
        passport = {"source": "synthetic", "seed": seed, "rows": name}
        with store.writer(f"strong-{model}", passport=passport, block_rows=BLOCK) as writer:
            pending = dict(writer.pending())
            for start, scores in blocks(source, seed=seed):
                if start in pending:
                    writer.write(start, scores[:, model])
            if name in source.gallery.neighbours:
                writer.add_neighbours(source.gallery.neighbours[name])
    return store


def main() -> None:
    """Write the store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source = SimilarityStore.open(arguments.source).stack()
    store = write(source, arguments.store, seed=arguments.seed)
    print(f"{store.path}: synthetic, {source.n_queries} queries x {source.n_gallery} images")


if __name__ == "__main__":
    main()
