"""Every tensor of the golden fixtures, within the tolerance their READMEs state.

In the order of the computation, so that the first failure names the stage.
"""

import numpy as np
from dafm_plugin_sprc.model import Sprc
from dafm_plugin_sprc.provider import prepare
from numpy.testing import assert_allclose, assert_array_equal

from dafm_core.datasets.fashioniq import JOINS
from dafm_core.testing import queries_of
from dafm_core.testing.device import here, there
from dafm_core.wrapping.encoding import TorchEncoder
from dafm_core.wrapping.precision import exact


def numbers(n: int) -> list[str]:
    return [str(row) for row in range(n)]


def test_prepared_text(case) -> None:
    for query in case.queries:
        captions = query["captions"]
        sentence = JOINS["and"](*captions) if query["dataset"] == "fashioniq" else captions[0]
        assert prepare(sentence) == query["prepared_text"]


def test_token_ids(case, real_vocabulary) -> None:
    texts = [query["captions"][0] for query in case.queries if query["dataset"] == "cirr"]
    rows = [i for i, query in enumerate(case.queries) if query["dataset"] == "cirr"]
    tokenizer = case.load(real_vocabulary).tokenizer
    ids, mask = tokenizer(texts)
    assert_array_equal(ids, case.expected["token_ids"][rows])
    assert_array_equal(mask, case.expected["attention_mask"][rows])
    ids, mask = tokenizer([query["prepared_text"] for query in case.queries])
    assert_array_equal(ids, case.expected["token_ids"])
    assert_array_equal(mask, case.expected["attention_mask"])


def test_pixels_and_gallery(case, provider: TorchEncoder[Sprc]) -> None:
    kinds = [kind for kind in ("images", "images_nonrgb") if kind in case.facts]
    assert len(kinds) == 1 + (case.name == "spn")
    for kind in kinds:
        suffix = kind.removeprefix("images")
        assert_allclose(
            here(provider.pixels(case.images(kind))),
            case.expected[f"pixel_values{suffix}"],
            rtol=0,
            atol=1e-6,
        )
        features = provider.encode_gallery(case.images(kind))
        assert features.dtype == np.float32
        assert_allclose(features, case.expected[f"gallery_features{suffix}"], rtol=0, atol=1e-5)


@exact()
def test_tokens_on_the_way(case, provider: TorchEncoder[Sprc]) -> None:
    tokens = provider.network.read(provider.pixels(case.images()))
    assert_allclose(here(tokens), case.expected["gallery_vision_embeds"], rtol=0, atol=1e-4)
    at = [case.facts["images"].index(query["reference"]) for query in case.queries]
    text = tuple(map(there, provider.tokenizer(numbers(len(at)))))
    fused = provider.network.fuse(tokens[at], text)
    assert_allclose(here(fused), case.expected["query_fused_tokens"], rtol=0, atol=1e-4)


def test_queries_and_similarity(case, provider: TorchEncoder[Sprc]) -> None:
    queries = provider.encode_queries(queries_of(case.references(), numbers(len(case.queries))))
    assert_allclose(queries, case.expected["query_features"], rtol=0, atol=1e-5)
    scores = provider.similarity(queries, provider.encode_gallery(case.images()))
    assert scores.dtype == np.float32
    assert_allclose(scores, case.expected["similarity"], rtol=0, atol=1e-5)
    if "images_nonrgb" in case.facts:
        scores = provider.similarity(queries, provider.encode_gallery(case.images("images_nonrgb")))
        assert_allclose(scores, case.expected["similarity_nonrgb"], rtol=0, atol=1e-5)


def test_from_captions_to_scores(case, real_vocabulary) -> None:
    provider = case.load(real_vocabulary)
    rows = [i for i, query in enumerate(case.queries) if query["dataset"] == "cirr"]
    texts = [case.queries[i]["captions"][0] for i in rows]
    queries = provider.encode_queries(queries_of([case.references()[i] for i in rows], texts))
    scores = provider.similarity(queries, provider.encode_gallery(case.images()))
    assert_allclose(scores, case.expected["similarity"][rows], rtol=0, atol=1e-5)
