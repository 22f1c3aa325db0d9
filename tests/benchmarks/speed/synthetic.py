"""A synthetic store of any size, made block by block: what timings at the paper's scale are of.

    python tests/benchmarks/speed/synthetic.py STORE [--queries 20000] [--gallery 20000]

Nothing in it is real. It is like a CIR benchmark where that decides how long things take and what
a fusion can learn: images in groups of look-alikes, which are the subsets' rivals; models whose
errors are correlated; images that are scored high whatever is asked (hubs). With the defaults the
models' R@1 is about 40 to 55 % and R@10 about 80 to 90 %, as in the paper's Table 2.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.ground.ids import Ids
from dafm_core.store.store import SimilarityStore

WIDTH = 48
"""Dimensions in which an image differs from others."""
GROUP = 6
"""Look-alikes; one of them is a query's target, the others its rivals."""
NOISE = (1.2, 1.3, 1.4, 1.5)
"""How far each model's idea of the target is off, relative to the target itself."""
SHARED = 0.7
"""Part of that error which all models make together."""
LOOK_ALIKE = 0.55
"""What an image has of its group."""
HUB = 0.05
"""Standard deviation of what a candidate is scored whatever is asked."""
CELL = 0.03
"""Standard deviation of what a cell has to itself."""
N_NEIGHBOURS = 8


def synthetic_dataset(n_queries: int, n_gallery: int, *, seed: int = 0) -> Dataset:
    """Return queries of targets drawn at random, their group being the subset."""
    rng = np.random.default_rng(seed)
    ids = [f"synthetic-{i:06d}" for i in range(n_gallery)]
    targets = rng.integers(0, n_gallery, n_queries)
    rows = []
    for query, target in enumerate(targets.tolist()):
        first = target - target % GROUP
        members = [i for i in range(first, min(first + GROUP, n_gallery)) if i != target]
        reference = members[query % len(members)] if members else (target + 1) % n_gallery
        rows.append(
            {
                "query_id": f"q{query:06d}",
                "references": [ids[reference]],
                "text": "synthetic",
                "group": f"g{first:06d}",
                "targets": [ids[target]],
                "subset": [ids[i] for i in (*members, target) if i != reference],
                "excluded": [ids[reference]],
            }
        )
    metrics = ("recall@1", "recall@5", "recall@10", "recall@50", "rsubset@1", "rmean")
    return Dataset(
        protocol=f"synthetic-{n_queries}x{n_gallery}",
        gallery_ids=Ids(ids),
        queries=query_frame(rows, where="synthetic"),
        metrics=metrics,
    )


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32)


def images(n_gallery: int, *, seed: int) -> NDArray[np.float32]:
    """Return a unit vector per image, (N, WIDTH)."""
    rng = np.random.default_rng([seed, 1])
    centres = _unit(_normal(rng, -(-n_gallery // GROUP), WIDTH)).repeat(GROUP, axis=0)[:n_gallery]
    own = _unit(_normal(rng, n_gallery, WIDTH))
    return _unit(LOOK_ALIKE * centres + (1 - LOOK_ALIKE) * own)


def blocks(
    dataset: Dataset, model: int, *, seed: int = 0, size: int = 256
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (first row, scores) of one model; the same whatever the block size of another run."""
    vectors = images(dataset.n_gallery, seed=seed)
    hubs = HUB * _normal(np.random.default_rng([seed, 2, model]), dataset.n_gallery)
    targets = dataset.targets.values
    for start in range(0, dataset.n_queries, size):
        wanted = vectors[targets[start : start + size]]
        common = _unit(_normal(np.random.default_rng([seed, 3, start]), *wanted.shape))
        rng = np.random.default_rng([seed, 4, model, start])
        own = _unit(_normal(rng, *wanted.shape))
        error = _unit(SHARED * common + (1 - SHARED) * own)
        scale = NOISE[model % len(NOISE)] * (0.5 + rng.random((len(wanted), 1), np.float32))
        scores = _unit(wanted + scale * error) @ vectors.T  # (B, N)
        scores += hubs
        scores += CELL * _normal(rng, *scores.shape)
        yield start, scores


def write(
    path: Path,
    *,
    n_queries: int,
    n_gallery: int,
    n_providers: int = 4,
    dtype: str = "float16",
    neighbours: bool = True,
    seed: int = 0,
) -> SimilarityStore:
    """Write a store of models called ``synthetic-0``, ``synthetic-1``, ...; resumable."""
    dataset = synthetic_dataset(n_queries, n_gallery, seed=seed)
    store = SimilarityStore.create(path, dataset)
    for model in range(n_providers):
        passport = {"source": "synthetic", "seed": seed, "model": model}
        name = f"synthetic-{model}"
        with store.writer(name, passport=passport, dtype=dtype, block_rows=256) as writer:
            pending = dict(writer.pending())
            for start, scores in blocks(dataset, model, seed=seed):
                if start in pending:
                    writer.write(start, scores)
            if neighbours:
                writer.add_neighbours(_neighbours(images(n_gallery, seed=seed), seed + model))
    return store


def _neighbours(vectors: NDArray[np.float32], seed: int) -> NDArray[np.int32]:
    """Return each image's nearest others, as a model sees them."""
    noisy = _unit(vectors + 0.5 * _unit(_normal(np.random.default_rng(seed), *vectors.shape)))
    n_nearest = min(N_NEIGHBOURS, len(noisy) - 1)
    nearest = np.empty((len(noisy), n_nearest), np.int32)
    for start in range(0, len(noisy), 512):
        close = noisy[start : start + 512] @ noisy.T
        close[np.arange(len(close)), start + np.arange(len(close))] = -np.inf
        top = np.argpartition(-close, n_nearest - 1, axis=1)[:, :n_nearest]
        order = np.argsort(-np.take_along_axis(close, top, axis=1), axis=1)
        nearest[start : start + 512] = np.take_along_axis(top, order, axis=1)
    return nearest


def main() -> None:
    """Write the store that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--gallery", type=int, default=20_000)
    parser.add_argument("--providers", type=int, default=4)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--no-neighbours", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    store = write(
        arguments.store,
        n_queries=arguments.queries,
        n_gallery=arguments.gallery,
        n_providers=arguments.providers,
        dtype=arguments.dtype,
        neighbours=not arguments.no_neighbours,
        seed=arguments.seed,
    )
    print(f"{store.path}: synthetic, {arguments.queries} queries x {arguments.gallery} images")


if __name__ == "__main__":
    main()
