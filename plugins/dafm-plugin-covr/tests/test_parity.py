"""Every tensor of the golden fixtures, within the tolerance their READMEs state."""

from pathlib import Path

import numpy as np
import pytest
from dafm_plugin_covr.preprocessing import StretchedSquare
from dafm_plugin_covr.provider import prepare
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from dafm_core.errors import ImageError
from dafm_core.testing import queries_of
from dafm_core.testing.device import here

ALPHABET = "a b c d e f g h i j k l m n o p q r s t u v w x y z"


@pytest.mark.parametrize(
    ("caption", "cleaned"),
    [
        (
            "longer.more colorful(with red#logo)*",
            "longer more colorful with red logo",
        ),
        ("remove [SEP] the [MASK] dog", "remove [sep] the [mask] dog"),
        ("die große Straße", "die große straße"),
        (
            f"{ALPHABET.replace('a b c', 'a ~ b : c')} one two three four five six seven",
            f"{ALPHABET} one two three four",
        ),
        (
            "  double   spaces\tand\nlines  ",
            "double spaces\tand\nlines",
        ),
        ("fits. and has long sleeves", "fits and has long sleeves"),
    ],
)
def test_cleaning(caption: str, cleaned: str) -> None:
    assert prepare(caption) == cleaned


def test_text_and_token_ids(case, real_vocabulary: Path) -> None:
    prepared = [query["prepared_text"] for query in case.facts["queries"]]
    assert [prepare(text) for text in case.texts] == prepared
    ids, mask = case.load(vocabulary=str(real_vocabulary)).tokenizer(case.texts)
    assert_array_equal(ids, case.expected["token_ids"])
    assert_array_equal(mask, case.expected["attention_mask"])


@pytest.mark.parametrize("options", [{}, {"score": "mean"}], ids=["", "mean"])
def test_pixels_features_and_similarity(case, options: dict[str, str]) -> None:
    if options and case.name == "blip":
        return  # one vector on either side: nothing to average
    provider = case.recorded(**options)
    by = "_mean" if options else ""
    rows = [str(row) for row in range(len(case.texts))]
    queries = provider.encode_queries(queries_of(case.references(), rows))
    for suffix in ("", "_nonrgb"):
        images = case.images(suffix)
        pixels = case.expected[f"pixel_values{suffix}"]
        assert_allclose(here(provider.pixels(images)), pixels, rtol=0, atol=1e-6)
        gallery = provider.encode_gallery(images)
        expected = case.expected[f"gallery_features{suffix}"]
        expected_queries = case.expected["query_features"]
        if options:
            expected, expected_queries = expected.mean(axis=1), expected_queries.mean(axis=1)
        assert_allclose(gallery, expected, rtol=0, atol=1e-5)
        assert_allclose(queries, expected_queries, rtol=0, atol=1e-5)
        scores = provider.similarity(queries, gallery)
        assert scores.dtype == np.float32
        assert_allclose(scores, case.expected[f"similarity{by}{suffix}"], rtol=0, atol=1e-5)


def test_half_precision_is_near_and_stays_in_the_image_encoder(case) -> None:
    provider = case.load(dtype="bfloat16")
    features = provider.encode_gallery(case.images())
    distance = np.abs(features - case.expected["gallery_features"]).max()
    assert 1e-5 < distance < 0.1  # it took effect, and not too much
    half = {n for n, p in provider.network.named_parameters() if str(p.dtype) != "torch.float32"}
    assert half
    assert all(".vision." in f".{name}" or ".images." in f".{name}" for name in half)


def test_an_image_of_the_right_size_is_left_alone_and_a_deep_one_refused() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    square = StretchedSquare(9)(Image.fromarray(pixels))
    assert_array_equal(square, pixels.transpose(2, 0, 1))
    with pytest.raises(ImageError, match="expected 8 bits a channel"):
        StretchedSquare(9)(Image.new("I;16", (4, 4)))
