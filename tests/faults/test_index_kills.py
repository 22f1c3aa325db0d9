"""An index killed at any line while it changes is what it was, or what it becomes."""

import numpy as np
import pytest

import dafm_core as dafm
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.judgements import read
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import StoreError
from dafm_core.ground.ids import Ids
from dafm_core.search import state
from dafm_core.search.building import add_images, build_index, remove_images
from dafm_core.search.index import GalleryIndex
from dafm_core.serve.judging import Judgements
from tests.faults.killing import states

N = 14


class Dot:
    """A model of inner products that draws features from ids and texts."""

    geometry = "dot"
    references = "any"
    fingerprint = {"seed": "0"}  # noqa: RUF012  # a constant

    def encode_gallery(self, images):
        return np.stack([self._drawn(image.id) for image in images])

    def encode_queries(self, queries):
        return np.stack([self._drawn(query.text) for query in queries])

    def similarity(self, queries, gallery):
        return queries @ gallery.T

    def _drawn(self, text):
        return np.random.default_rng(list(text.encode())).standard_normal(4).astype(np.float32)


def images(n):
    rows = [
        {"query_id": f"q{i}", "references": [], "text": f"text {i}", "targets": ["i0"]}
        for i in range(6)
    ]
    ids = Ids(f"i{j}" for j in range(n))
    return Dataset(protocol="toy", gallery_ids=ids, queries=query_frame(rows, where="toy"))


@pytest.fixture(params=[False, True], ids=["small", "large"])
def kept_as(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(state, "MAX_NEIGHBOURS", 5)


def whole(path, n_images):
    """Check an index that a kill has left."""
    index = GalleryIndex.open(path)
    index.verify()
    assert index.n_images in n_images
    for name in index.names:
        assert len(index.features(name)) == index.n_images
    assert index.bank.covers(index.gallery)
    return index


def build(path):
    return build_index(path, images(N), {"dot": Dot()}, bank=images(N))


def add(path):
    return add_images(path, images(N + 3), providers={"dot": Dot()})


def remove(path):
    return remove_images(path, ["i2", "i9"], providers={"dot": Dot()})


def test_a_build(tmp_path, kept_as):
    path = tmp_path / "whole" / "index"
    found = states(lambda: build(path), path)
    assert len(found) > 30
    n_there = 0
    for number, moment in enumerate(found):
        left = moment.restore(tmp_path / "left")
        if (left / "index.json").exists():
            whole(left, {N})
            n_there += 1
            continue
        with pytest.raises(StoreError, match="not a gallery index"):
            GalleryIndex.open(left)
        if number % 40 == 0:
            assert build(left).n_images == N
            whole(left, {N})
    assert n_there


@pytest.mark.parametrize(("change", "n"), [(add, N + 3), (remove, N - 2)])
def test_a_change(tmp_path, change, n, kept_as):
    path = tmp_path / "whole" / "index"
    build(path)
    found = states(lambda: change(path), path)
    assert len(found) > 10
    seen = set()
    for number, moment in enumerate(found):
        left = moment.restore(tmp_path / "left")
        index = whole(left, {N, n})
        seen.add(index.n_images)
        if number % 40 == 0 and index.n_images == N:
            assert change(left).n_images == n
            whole(left, {n})
    assert seen == {N, n}


def test_judging(tmp_path):
    index = build(tmp_path / "index")
    folder = tmp_path / "judged"
    kept = Judgements(folder / "judged.jsonl", index)
    kept.add([], "red", "i1", "meant")
    found = states(lambda: kept.add([], "blue", "i2", "meant"), folder)
    for moment in found:
        left = moment.restore(tmp_path / "left") / "judged.jsonl"
        _, lines = read(left)
        texts = [line["text"] for line in lines]
        assert texts in (["red"], ["red", "blue"]), moment.where
        Judgements(left, index).add([], "green", "i3", "meant")
        expected = [*texts, "green"]
        assert dafm.load_dataset(f"judgements:{left}").queries["text"].to_list() == expected
