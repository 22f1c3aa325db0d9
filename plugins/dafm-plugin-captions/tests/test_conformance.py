"""The batteries that core ships, on captioned images."""

import pytest
from dafm_plugin_captions.lexical import Bm25Captions, TfidfCaptions
from dafm_plugin_captions.sentence import BestSentenceCaptions, SentenceCaptions

from dafm_core.testing import NotApplicable, ProviderSample, provider_checks, queries_of

KINDS = [Bm25Captions, TfidfCaptions, SentenceCaptions, BestSentenceCaptions]
TEXTS = ["a red one", "a dog on the road", "it sleeps", "the car is blue", "chases a cat"]


@pytest.fixture
def sample(gallery):
    return ProviderSample(queries=tuple(queries_of(gallery, TEXTS)), gallery=tuple(gallery))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("check", provider_checks(), ids=str)
def test_conformance(check, kind, captions, sample, bag_of_words):
    try:
        check(kind(captions=captions), sample)
    except NotApplicable:
        assert kind in (Bm25Captions, TfidfCaptions), "only those that do not factor"
