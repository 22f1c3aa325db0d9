from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dafm_core.scenes
from dafm_core.contract.items import ImageRef
from dafm_core.contract.provider import is_encoding
from dafm_core.core_plugin import PROVIDERS
from dafm_core.scenes.dataset import load
from dafm_core.testing import queries_of

NAMES = [info.name for info in PROVIDERS if info.name != "scenes-verifier"]
"""Those that score a whole gallery; for the one that scores pairs, see ``test_verifier.py``."""


def make(name):
    info = next(info for info in PROVIDERS if info.name == name)
    module, attribute = info.factory.split(":")
    return getattr(import_module(module), attribute)()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAFM_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load(families=80)


@pytest.fixture(scope="module")
def matrices(dataset):
    queries = dataset.iter_queries()
    scores = {}
    for name in NAMES:
        provider = make(name)
        wanted = provider.encode_queries(queries)
        scores[name] = provider.similarity(
            wanted, provider.encode_gallery(dataset.gallery_images())
        )
    return scores


def ranks(scores, dataset):
    scores = scores.copy()
    scores[dataset.excluded.rows, dataset.excluded.values] = -np.inf
    own = scores[np.arange(len(scores)), dataset.targets.values][:, None]
    return 1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_float32_finite_and_independent_of_the_block(name, dataset, matrices):
    provider, gallery, queries = (
        make(name),
        dataset.gallery_images()[:90],
        dataset.iter_queries(0, 25),
    )
    assert is_encoding(provider)
    whole = matrices[name]
    assert whole.dtype == np.float32
    assert whole.shape == (dataset.n_queries, dataset.n_gallery)
    assert np.isfinite(whole).all()
    blocks = np.concatenate([provider.encode_gallery(gallery[i : i + 31]) for i in (0, 31, 62)])
    wanted = [provider.encode_queries([q]) for q in queries]
    scores = provider.similarity(np.concatenate(wanted), blocks)
    np.testing.assert_allclose(scores, whole[:25, : len(blocks)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_any_picture_and_any_text_will_do(name, tmp_path):
    for number, (mode, size) in enumerate([("L", (5, 9)), ("RGBA", (300, 40)), ("P", (48, 48))]):
        Image.new(mode, size).save(tmp_path / f"{number}.png")
    images = [ImageRef(str(number), tmp_path / f"{number}.png") for number in range(3)]
    texts = ["", "¿qué? <b>red</b>", "no three fewer bigger smaller red red left up circle instead"]
    provider = make(name)
    wanted = provider.encode_queries(queries_of(images, texts))
    there = provider.encode_gallery(images)
    scores = provider.similarity(wanted, there)
    assert scores.shape == (3, 3)
    assert np.isfinite(scores).all()
    assert provider.similarity(wanted[:0], there).shape == (0, 3)
    assert len(provider.encode_gallery([])) == 0


def test_providers_see_pixels_and_text_and_never_the_scenes():
    folder = Path(dafm_core.scenes.__file__).parent
    made_of = ("dataset", "world", "texts", "render")
    for name in ("color", "layout", "shape", "words", "pixels", "reading", "overlap"):
        file = folder / f"{name}.py"
        nodes = list(ast.walk(ast.parse(file.read_text())))
        names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        names += [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names]
        assert not [name for name in names if name.endswith(made_of)], file.name


def test_each_provider_alone_is_useful_and_together_they_know_far_more(dataset, matrices):
    hits = {name: ranks(scores, dataset) <= 1 for name, scores in matrices.items()}
    single = {name: 100 * hit.mean() for name, hit in hits.items()}
    assert all(10 < value < 70 for value in single.values()), single
    oracle = 100 * np.any(list(hits.values()), axis=0).mean()
    assert oracle > max(single.values()) + 15
    for name, hit in hits.items():
        others = np.any([hits[other] for other in NAMES if other != name], axis=0)
        assert (hit & ~others).mean() > 0.02, name


def test_overlap_makes_hubs_and_the_exponential_makes_long_tails(dataset, matrices):
    def hubness(scores):
        return np.bincount(scores.argmax(axis=1), minlength=dataset.n_gallery).max()

    fair = dataset.n_queries / dataset.n_gallery
    assert hubness(matrices["scenes-color"]) > 5 * fair
    spread = matrices["scenes-layout"].max(axis=1) / np.median(matrices["scenes-layout"], axis=1)
    assert np.median(spread) > 2
