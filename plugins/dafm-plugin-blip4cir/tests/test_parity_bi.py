"""BLIP4CIR+Bi: every golden tensor, in the order of the computation, with and without Combiner."""

from pathlib import Path

import numpy as np
import pytest
import torch
from dafm_plugin_blip4cir.model import BiDirectional
from dafm_plugin_blip4cir.text import mark_captions, mark_forward
from numpy.testing import assert_allclose, assert_array_equal

from dafm_core.testing import queries_of
from dafm_core.testing.device import here, there
from dafm_core.wrapping.encoding import TorchEncoder
from dafm_core.wrapping.precision import exact


def prepared(query) -> str:
    one = query["dataset"] == "cirr"
    return mark_forward(query["captions"][0]) if one else mark_captions(*query["captions"])


def numbers(case) -> list[str]:
    return [str(row) for row in range(len(case.queries))]


def test_text_and_token_ids(bi, real_vocabulary: Path) -> None:
    texts = [prepared(query) for query in bi.queries]
    assert texts == [query["prepared_text"] for query in bi.queries]
    ids, mask = bi.load_bi(real_vocabulary).tokenizer.tokenizer(texts)
    assert_array_equal(ids, bi.expected["token_ids"])
    assert_array_equal(mask, bi.expected["attention_mask"])


def test_pixels(bi, bi_provider: TorchEncoder[BiDirectional]) -> None:
    assert_allclose(
        here(bi_provider.pixels(bi.images())), bi.expected["pixel_values"], rtol=0, atol=1e-6
    )


def test_features_of_images_and_texts(bi, bi_provider: TorchEncoder[BiDirectional]) -> None:
    network, pixels = bi_provider.network, bi_provider.pixels(bi.images())
    with exact():
        raw = network.read(pixels)
        text = network.texts(tuple(map(there, bi_provider.tokenizer(numbers(bi)))))
    assert_allclose(here(raw), bi.expected["gallery_features_raw"], rtol=0, atol=2e-5)
    assert_allclose(here(text), bi.expected["text_features"], rtol=0, atol=2e-5)
    gallery = bi_provider.encode_gallery(bi.images())
    assert gallery.dtype == np.float32
    assert_allclose(gallery, bi.expected["gallery_features"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("suffix", ["", "_sum"])
def test_queries_and_similarity(
    bi, bi_provider: TorchEncoder[BiDirectional], vocabulary: Path, suffix: str
) -> None:
    provider = bi_provider
    if suffix:
        provider = bi.load_bi_sum(vocabulary)
        provider.tokenizer = bi_provider.tokenizer
    queries = provider.encode_queries(queries_of(bi.references(), numbers(bi)))
    assert_allclose(queries, bi.expected[f"query_features{suffix}"], rtol=0, atol=2e-6)
    scores = provider.similarity(queries, provider.encode_gallery(bi.images()))
    assert scores.dtype == np.float32
    assert_allclose(scores, bi.expected[f"similarity{suffix}"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("captions", ["one", "lines"])
def test_from_captions_to_scores(bi, real_vocabulary: Path, captions: str) -> None:
    """CIRR's texts with ``captions=one``, FashionIQ's pairs with ``captions=lines``."""
    dataset = {"one": "cirr", "lines": "fashioniq"}[captions]
    rows = [i for i, query in enumerate(bi.queries) if query["dataset"] == dataset]
    texts = ["\n".join(bi.queries[i]["captions"]) for i in rows]
    provider = bi.load_bi(real_vocabulary, captions=captions)
    queries = provider.encode_queries(queries_of([bi.references()[i] for i in rows], texts))
    scores = provider.similarity(queries, provider.encode_gallery(bi.images()))
    assert_allclose(scores, bi.expected["similarity"][rows], rtol=0, atol=2e-6)


def test_positions_stored_for_the_image_size_are_taken_as_they_are(bi, vocabulary: Path) -> None:
    content = torch.load(bi.files()["checkpoint"], weights_only=True)["model"]
    size = bi.facts["pretrained_image_size"]
    provider = bi.load_bi_sum(vocabulary, image_size=size)
    taken = provider.network.images.vision.embeddings.position_embedding
    assert_array_equal(here(taken), content["visual_encoder.pos_embed"])
