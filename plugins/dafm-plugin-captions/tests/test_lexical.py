import math
import re

import numpy as np
import pytest
from dafm_plugin_captions.lexical import Bm25Captions, TfidfCaptions

from dafm_core.contract.items import ImageRef, Query
from dafm_core.errors import DatasetError

TEXTS = ["a red one", "car car dog", "", "zebra", "sleeps on the sofa"]
STOPS = {"a", "on", "the", "in", "one"}


@pytest.fixture
def queries():
    return [
        Query(id=str(i), references=(ImageRef(name),), text=text)
        for i, (name, text) in enumerate(
            zip(["blue-car", "dog", "cat", "no-captions", "dog"], TEXTS, strict=True)
        )
    ]


def naive_bm25(documents, text, k1=1.2, b=0.75):
    words = [[w for w in re.findall(r"\w\w+", d.lower()) if w not in STOPS] for d in documents]
    mean_length = sum(map(len, words)) / len(words)
    scores = np.zeros(len(documents))
    for term in re.findall(r"\w\w+", text.lower()):
        df = sum(term in own for own in words)
        if term in STOPS or not df:
            continue
        idf = max(0.0, math.log((len(words) - df + 0.5) / (df + 0.5)))
        for i, own in enumerate(words):
            tf = own.count(term)
            scores[i] += idf * tf / (tf + k1 * (1 - b + b * len(own) / mean_length))
    return scores


def test_bm25_is_robertsons_formula(captions, gallery, queries):
    provider = Bm25Captions(captions=captions)
    scores = provider.similarity(queries, gallery)
    documents = provider._documents.texts
    for row, query in enumerate(queries):
        np.testing.assert_allclose(
            scores[row, :-1], naive_bm25(documents, query.text), rtol=1e-5, atol=1e-6
        )
    assert (scores[:, -1] == 0).all()
    assert scores[0].argmax() == 0
    assert not scores[2].any(), "an empty text matches nothing"
    assert not scores[3].any(), "an unknown word matches nothing"


def test_tfidf_adds_the_reference(captions, gallery, queries):
    alone = TfidfCaptions(captions=captions, reference_weight=0.0).similarity(queries, gallery)
    both = TfidfCaptions(captions=captions, reference_weight=0.5).similarity(queries, gallery)
    only = TfidfCaptions(captions=captions, reference_weight=1e6).similarity(queries, gallery)
    assert (np.diagonal(only[[0, 1]][:, [1, 2]]) > 0.999).all(), "the reference itself"
    assert not alone[2].any(), "an empty text alone matches nothing"
    assert both[2].argmax() == 3, "with a reference it finds the reference"
    assert not both[3].any(), "neither words nor captions"
    assert (both[:, -1] == 0).all()
    assert (np.abs(both) <= 1 + 1e-6).all()


@pytest.mark.parametrize("kind", [Bm25Captions, TfidfCaptions])
def test_scores_do_not_depend_on_the_gallery_or_on_other_queries(kind, captions, gallery, queries):
    provider = kind(captions=captions)
    whole = provider.similarity(queries, gallery)
    order = [4, 2, 0]
    part = provider.similarity(queries[1:3], [gallery[i] for i in order])
    np.testing.assert_array_equal(part, whole[1:3][:, order])
    assert whole.dtype == np.float32
    assert provider.similarity([], gallery).shape == (0, 5)
    assert provider.similarity(queries, []).shape == (5, 0)


@pytest.mark.parametrize("kind", [Bm25Captions, TfidfCaptions])
def test_captions_without_words_are_one_line(kind, tmp_path):
    path = tmp_path / "captions.json"
    path.write_text('{"a": ["?", "!"]}')
    with pytest.raises(DatasetError, match="expected words"):
        kind(captions=path)


@pytest.mark.parametrize("kind", [Bm25Captions, TfidfCaptions])
def test_the_fingerprint_tells_options_apart(kind, captions):
    option = {"k1": 0.9} if kind is Bm25Captions else {"reference_weight": 0.1}
    first, second = kind(captions=captions).fingerprint, kind(captions=captions, **option)
    assert first == kind(captions=captions).fingerprint
    assert first != second.fingerprint
    assert all(isinstance(value, str) for value in first.values())
