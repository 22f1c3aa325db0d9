"""What every test may ask for."""

import os
from pathlib import Path

os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # ranx, an oracle: 2 s on small lists instead of 30

import numpy as np
import pytest
from hypothesis import Phase, settings

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.store.stack import SimilarityStack

ROOT = Path(__file__).parent.parent

# How long a law takes says nothing about it. Before a release: --hypothesis-profile=thorough.
settings.register_profile("dafm", deadline=None, max_examples=30)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.register_profile(  # benchmarks/mutation.py: whether a law breaks, not by how little
    "mutants", deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("dafm")


@pytest.fixture
def shared():
    """The folder of real data; tests that need it skip where it is missing."""
    folder = Path(os.environ.get("DAFM_SHARED", ROOT / ".." / "shared"))
    if not folder.is_dir():
        pytest.skip(f"real data is not at {folder}; set DAFM_SHARED")
    return folder


@pytest.fixture(scope="session")
def described_plugins(tmp_path_factory):
    """What installed plugins describe, learned once for all tests: a process per plugin."""
    return tmp_path_factory.mktemp("described")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch, described_plugins):
    """Keep features of tests out of the user's cache, and apart from each other."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "plugins").symlink_to(described_plugins)
    monkeypatch.setenv("DAFM_CACHE", str(cache))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
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
    stack = SimilarityStack.from_matrices(matrices, dataset)
    return dataset, stack


@pytest.fixture
def dataset():
    """Twelve queries in four groups over nine candidates; the reference is excluded."""
    rows = [
        {
            "query_id": f"q{i}",
            "reference": f"img{i % 9}",
            "text": f"with {i} more",
            "group": f"set{i % 4}",
            "targets": [f"img{(i + 1 + i // 3) % 9}"],
            "excluded": [f"img{i % 9}"],
            "subset": [f"img{(i + j) % 9}" for j in range(6)],
        }
        for i in range(12)
    ]
    gallery = tuple(f"img{j}" for j in range(9))
    return Dataset(protocol="toy-val", gallery_ids=gallery, queries=query_frame(rows, where="toy"))


@pytest.fixture
def make_provider():
    return DotProvider


class DotProvider:
    """A factoring provider whose features are numbers drawn from ids and texts."""

    def __init__(self, seed=0, fail_at=None):
        self.seed = seed
        self.fail_at = fail_at
        self.n_encoded = 0
        self.fingerprint = {"seed": str(seed)}

    def _vector(self, text):
        draw = np.random.default_rng([self.seed, *text.encode()])
        return draw.standard_normal(5).astype(np.float32)

    def encode_gallery(self, images):
        self.n_encoded += len(images)
        return np.stack([self._vector(image.id) for image in images])

    def encode_queries(self, queries):
        if self.fail_at is not None and any(self.fail_at in query.text for query in queries):
            raise RuntimeError("out of memory")
        return np.stack([self._vector(q.reference.id) + self._vector(q.text) for q in queries])

    def similarity(self, queries, gallery):
        return np.einsum("qd,nd->qn", queries, gallery)
