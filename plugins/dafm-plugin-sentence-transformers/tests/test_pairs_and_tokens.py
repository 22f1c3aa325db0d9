"""Late interaction and re-rankers against the library used by hand; listing stays light."""

import subprocess
import sys

import numpy as np
import pytest
from dafm_plugin_sentence_transformers import multivector, reranker
from sentence_transformers import CrossEncoder, MultiVectorEncoder

from dafm_core.contract.items import Query
from dafm_core.contract.provider import is_encoding, is_pair
from dafm_core.errors import OptionError, ProviderError
from dafm_core.testing.device import DEVICE, here


@pytest.fixture(scope="module")
def colbert(models):
    return MultiVectorEncoder(models["multivector"], device=DEVICE)


@pytest.mark.parametrize("compose", ["joint", "text", "image"])
@pytest.mark.parametrize("mean", [False, True])
def test_late_interaction(compose, mean, models, colbert, images, pictures, queries, monkeypatch):
    provider = multivector.load(
        model=models["multivector"], device=DEVICE, compose=compose, max_vectors=9
    )
    if mean:
        provider.model.similarity_fn_name = "meanmaxsim"
    colbert.similarity_fn_name = provider.model.similarity_fn_name
    asked = {
        "joint": [{"image": p, "text": q.text} for p, q in zip(pictures, queries, strict=False)],
        "text": [query.text for query in queries],
        "image": pictures[:3],
    }[compose]
    expected = colbert.similarity(colbert.encode_query(asked), colbert.encode_document(pictures))
    features = provider.encode_queries(queries)
    gallery = provider.encode_gallery(images)
    assert gallery.shape == (6, 9, 128)
    monkeypatch.setattr(multivector, "CELLS", 1)  # a candidate at a time
    scores = provider.similarity(features, gallery)
    np.testing.assert_allclose(scores, here(expected), atol=2e-6)
    assert is_encoding(provider)
    assert provider.geometry == "max-dot"


def test_what_late_interaction_cannot_do_is_one_line(models, images):
    with pytest.raises(OptionError, match="do not add up"):
        multivector.load(model=models["multivector"], device=DEVICE, compose="sum")
    with pytest.raises(OptionError, match="max_vectors"):
        multivector.load(model=models["multivector"], device=DEVICE, max_vectors=0)
    provider = multivector.load(model=models["multivector"], device=DEVICE, max_vectors=2)
    with pytest.raises(ProviderError, match="image 'image-0': expected at most 2 vectors, got"):
        provider.encode_gallery(images)


@pytest.mark.parametrize("activation", ["model", "none"])
@pytest.mark.parametrize("compose", ["joint", "text"])
def test_a_reranker_of_images(activation, compose, models, images, pictures, queries):
    import torch

    provider = reranker.load(
        model=models["reranker"], device=DEVICE, activation=activation, compose=compose
    )
    by_hand = CrossEncoder(models["reranker"], device=DEVICE)
    asked = [
        {"image": p, "text": q.text} if compose == "joint" else {"text": q.text}
        for p, q in zip(pictures, queries, strict=False)
    ]
    lists = [images[:4], [], images[4:]]
    scores = provider.score_pairs(queries, lists)
    assert is_pair(provider)
    for own, start, stop, got in zip(asked, (0, 0, 4), (4, 0, 6), scores, strict=True):
        expected = by_hand.predict(
            [(own, {"image": picture}) for picture in pictures[start:stop]],
            activation_fn=torch.nn.Identity() if activation == "none" else None,
        )
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_reranker_of_texts_reads_captions(models, captions, images, queries, tiny):
    provider = reranker.load(model=models["text-reranker"], device=DEVICE, captions=captions)
    by_hand = CrossEncoder(models["text-reranker"], device=DEVICE)
    told = [" ".join(own) for own in tiny.CAPTIONS.values()]
    (scores,) = provider.score_pairs(queries[1:2], [images])
    np.testing.assert_allclose(
        scores[:5], by_hand.predict([(queries[1].text, text) for text in told]), atol=1e-6
    )
    assert scores[5] == scores[:5].min(), "nothing is known of the last image"
    joint = reranker.load(
        model=models["text-reranker"], device=DEVICE, captions=captions, compose="joint"
    )
    (scores,) = joint.score_pairs([Query(id="", references=(images[2],), text="a dog")], [images])
    expected = by_hand.predict([(f"{told[2]} a dog", text) for text in told])
    np.testing.assert_allclose(scores[:5], expected, atol=1e-6)


def test_what_a_reranker_cannot_do_is_one_line(models, tiny, tmp_path, captions):
    with pytest.raises(ProviderError, match=r"reads images.*captions=FILE"):
        reranker.load(model=models["text-reranker"], device=DEVICE)
    labels = tiny.text_reranker(tmp_path / "labels", n_labels=3)
    with pytest.raises(ProviderError, match="one score per pair, got 3"):
        reranker.load(model=str(labels), device=DEVICE, captions=captions)


def test_no_model_is_loaded_as_another_kind(models, captions):
    for load, model, message in [
        (multivector.load, models["joint"], "a SentenceTransformer. Use --provider st.$"),
        (multivector.load, models["clip"], "without the layer that makes it one"),
        (reranker.load, models["clip"], "without the layer that makes it one"),
        (reranker.load, models["multivector"], "Use --provider st-multivector"),
    ]:
        with pytest.raises(ProviderError, match=message):
            load(model=model, device=DEVICE)


def test_listing_imports_no_model():
    code = (
        "import sys, dafm_plugin_sentence_transformers.plugin as p; p.dafm_similarity_providers();"
        "print(sorted({'torch', 'transformers', 'sentence_transformers', 'numpy'} & "
        "set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
