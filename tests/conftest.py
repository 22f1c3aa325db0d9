"""What every test may ask for."""

import os

os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # ranx, an oracle: 2 s on small lists instead of 30

import numpy as np
import pytest

from dafm_core.datasets.base import Dataset, query_frame
from dafm_core.stacking import SimilarityStack


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def make_problem():
    """Return a function that makes a dataset and a stack of informative, differently noisy rows."""
    return problem


def problem(
    *, n_queries=60, n_gallery=40, noise=(1.0, 1.5, 2.0), seed=0, n_targets=1, subset_size=5
):
    """Return (dataset, stack): groups of four queries, the reference excluded, a subset each."""
    rng = np.random.default_rng(seed)
    gallery = tuple(f"img{i}" for i in range(n_gallery))
    picks = [
        rng.choice(n_gallery, n_targets + subset_size, replace=False) for _ in range(n_queries)
    ]
    rows = [
        {
            "query_id": f"q{i}",
            "reference": gallery[pick[-1]],
            "text": f"text {i}",
            "group": f"set{i // 4}",
            "targets": [gallery[c] for c in pick[:n_targets]],
            "subset": [gallery[c] for c in pick[:-1]],
            "excluded": [gallery[pick[-1]]],
        }
        for i, pick in enumerate(picks)
    ]
    metrics = ("recall@1", "recall@5", "rsubset@1")
    dataset = Dataset(
        protocol="toy-val",
        gallery_ids=gallery,
        queries=query_frame(rows, where="toy"),
        metrics=metrics,
    )
    truth = np.zeros((n_queries, n_gallery))
    truth[dataset.targets.rows, dataset.targets.values] = 3.0
    matrices = {
        f"model-{k}": (rng.normal(size=truth.shape) * level + truth).astype(np.float32)
        for k, level in enumerate(noise)
    }
    stack = SimilarityStack.from_matrices(
        matrices,
        protocol=dataset.protocol,
        query_ids=dataset.query_ids,
        gallery_ids=gallery,
        excluded=dataset.excluded,
    )
    return dataset, stack
