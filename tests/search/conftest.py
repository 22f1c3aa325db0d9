"""A gallery of images that are numbers drawn from their ids, and models that know them."""

import numpy as np
import pytest

import dafm_core as dafm
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.ground.ids import Ids
from dafm_core.search.building import build_index


class Dot:
    """A model whose features are drawn from ids and texts; ``similarity`` is their product."""

    geometry = "dot"

    def __init__(self, seed, width=6, skew=0.0):
        self.seed, self.width = seed, width
        self.fingerprint = {"seed": str(seed)}
        self.skew = skew
        self.n_encoded = 0
        self.fails_on = None

    def _vector(self, text):
        draw = np.random.default_rng([self.seed, *text.encode()])
        return draw.standard_normal(self.width).astype(np.float32) + np.float32(self.skew)

    def encode_gallery(self, images):
        self.n_encoded += len(images)
        return np.stack([self._vector(image.id) for image in images])

    def encode_queries(self, queries):
        if self.fails_on is not None and any(self.fails_on in query.text for query in queries):
            raise RuntimeError("out of memory")
        texts = np.stack([self._vector(query.text) for query in queries])
        for row, query in zip(texts, queries, strict=True):
            for reference in query.references:
                row += self._vector(reference.id)
        return texts

    def similarity(self, queries, gallery):
        return queries @ gallery.T


class Distance(Dot):
    """Another geometry: minus the distance."""

    geometry = ""

    def similarity(self, queries, gallery):
        squares = ((queries[:, None] - gallery) ** 2).sum(2)
        return -np.sqrt(squares).astype(np.float32)


class Words:
    """A model that does not factor: shared letters of text and id."""

    def __init__(self):
        self.fingerprint = {"kind": "letters"}

    def similarity(self, queries, gallery):
        rows = [[len(set(q.text) & set(i.id)) + len(i.id) / 100 for i in gallery] for q in queries]
        return np.array(rows, np.float32)


def make_dataset(n_images=60, n_queries=40, seed=0):
    rng = np.random.default_rng(seed)
    ids = Ids(f"img{i:03d}" for i in range(n_images))
    rows = []
    for q in range(n_queries):
        reference, target = rng.choice(n_images, 2, replace=False)
        rows.append(
            {
                "query_id": f"q{q}",
                "reference": ids[reference],
                "text": f"text {q}",
                "targets": [ids[target]],
                "excluded": [ids[reference]],
            }
        )
    return Dataset(protocol="toy-val", gallery_ids=ids, queries=query_frame(rows, where="toy"))


@pytest.fixture(scope="session")
def gallery():
    return make_dataset()


def models():
    """Four models, of which ``near`` takes any number of references."""
    near = Dot(1)
    near.references = "any"
    return {"far": Distance(3), "near": near, "skewed": Dot(2, skew=0.5), "words": Words()}


@pytest.fixture(scope="module")
def stack(gallery, tmp_path_factory):
    return dafm.score(gallery, models(), store=tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def index(gallery, tmp_path_factory):
    return build_index(tmp_path_factory.mktemp("index"), gallery, models())


@pytest.fixture(scope="module")
def light(stack):
    return dafm.LightFusion(seed=0, network="linear").fit(stack)
