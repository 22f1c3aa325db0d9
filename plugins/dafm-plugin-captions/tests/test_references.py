"""Any number of reference images: hand-computed scores, and the two laws around one reference."""

import json
import math

import numpy as np
import pytest
from dafm_plugin_captions import plugin
from dafm_plugin_captions.lexical import Bm25Captions, TfidfCaptions
from dafm_plugin_captions.sentence import BestSentenceCaptions, SentenceCaptions

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import is_encoding
from dafm_core.wrapping.references import ReferenceMeans

KINDS = [Bm25Captions, TfidfCaptions, SentenceCaptions, BestSentenceCaptions]
READS_REFERENCES = [TfidfCaptions, SentenceCaptions]


def query(text, *references):
    return Query(id="q", references=tuple(map(ImageRef, references)), text=text)


def score(provider, queries, gallery):
    if is_encoding(provider):
        return provider.similarity(
            provider.encode_queries(queries), provider.encode_gallery(gallery)
        )
    return provider.similarity(queries, gallery)


@pytest.fixture
def one_word_each(tmp_path):
    """Images of one word each, in as many captions: every TF-IDF vector is a unit axis."""
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"dog": ["dog"], "cat": ["cat"], "sun": ["sun"]}))
    return path


def test_tfidf_by_hand(one_word_each):
    provider = TfidfCaptions(captions=one_word_each, reference_weight=0.5)
    gallery = [ImageRef("dog"), ImageRef("cat"), ImageRef("sun")]
    queries = [
        query("sun", "dog"),  # (0.5, 0, 1), length sqrt(1.25)
        query("sun", "dog", "cat"),  # (0.25, 0.25, 1), length sqrt(1.125)
        query("sun", "dog", "dog", "cat", "cat"),  # the same mean
        query("sun", "dog", "nowhere"),  # an image without captions does not count
        query("sun", "nowhere"),
        query("sun"),
    ]
    one, two = np.array([0.5, 0, 1]) / math.sqrt(1.25), np.array([0.25, 0.25, 1]) / math.sqrt(1.125)
    expected = [one, two, two, one, [0, 0, 1], [0, 0, 1]]
    np.testing.assert_allclose(score(provider, queries, gallery), expected, atol=1e-6)


def test_sentence_by_hand(bag_of_words, one_word_each):
    provider = SentenceCaptions(captions=one_word_each, reference_weight=0.4)
    dog, cat, text = bag_of_words(["dog", "cat", "at night"])
    queries = [
        query("at night", "dog", "cat"),
        query("at night", "cat", "dog", "nowhere"),
        query("at night", "dog", "dog", "dog", "cat"),
        query("at night", "nowhere", "nowhere"),
        query("at night"),
    ]
    expected = [
        text + 0.4 * (dog + cat) / 2,
        text + 0.4 * (dog + cat) / 2,
        text + 0.4 * (3 * dog + cat) / 4,
        text,
        text,
    ]
    expected = [vector / np.linalg.norm(vector) for vector in expected]
    np.testing.assert_allclose(provider.encode_queries(queries), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_references_and_the_other_queries_change_nothing(
    kind, bag_of_words, captions, gallery
):
    provider = kind(captions=captions)
    names = ["dog", "red-car", "no-captions", "cat"]
    queries = [query("now red", *names[:n]) for n in range(5)]
    scores = score(provider, queries, gallery)
    assert np.isfinite(scores).all()
    turned = [query("now red", *reversed(names[:n])) for n in range(5)]
    np.testing.assert_allclose(score(provider, turned, gallery), scores, atol=1e-6)
    alone = np.concatenate([score(provider, [q], gallery) for q in queries])
    np.testing.assert_allclose(alone, scores, atol=1e-6)
    if kind not in READS_REFERENCES:
        np.testing.assert_array_equal(scores, np.broadcast_to(scores[0], scores.shape))
    else:
        assert (np.abs(np.diff(scores[[0, 1, 2, 4]], axis=0)).max(axis=1) > 1e-3).all()


@pytest.mark.parametrize("kind", READS_REFERENCES)
def test_one_reference_is_its_own_mean(kind, bag_of_words, captions, gallery):
    provider = kind(captions=captions)
    once, twice = query("now red", "dog"), query("now red", "dog", "dog")
    scores = score(provider, [once, twice], gallery)
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-7)


def test_each_distinct_reference_is_looked_up_once():
    means = ReferenceMeans.of([query("", "a", "b"), query(""), query("", "b", "a", "b")])
    assert [image.id for image in means.images] == ["a", "b"]
    assert means.query_rows.tolist() == [0, 0, 2, 2, 2]
    assert means.image_rows.tolist() == [0, 1, 1, 0, 1]
    both = means.weights(np.array([True, True]), 3)
    np.testing.assert_allclose(both, [1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3])
    only_b = means.weights(np.array([False, True]), 3)
    np.testing.assert_allclose(only_b, [0, 1, 1 / 2, 0, 1 / 2])


def test_the_descriptions_say_any():
    assert {info.references for info in plugin.dafm_similarity_providers()} == {"any"}
    assert plugin.dafm_api_version == 2
