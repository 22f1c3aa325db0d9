"""The image-grounded model: every golden tensor, in the order of the computation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from dafm_core.datasets.fashioniq import JOINS
from dafm_core.testing import queries_of
from dafm_core.testing.device import here
from dafm_core.wrapping.blip.encoders import ImageGrounded
from dafm_core.wrapping.encoding import TorchEncoder


def texts(case) -> list[str]:
    return [
        JOINS["and"](*query["captions"])
        if query["dataset"] == "fashioniq"
        else query["captions"][0]
        for query in case.queries
    ]


def numbers(case) -> list[str]:
    return [str(row) for row in range(len(case.queries))]


def test_text_and_token_ids(grounded, real_vocabulary: Path) -> None:
    assert texts(grounded) == [query["prepared_text"] for query in grounded.queries]
    ids, mask = grounded.load(real_vocabulary).tokenizer(texts(grounded))
    assert_array_equal(ids, grounded.expected["token_ids"])
    assert_array_equal(mask, grounded.expected["attention_mask"])


@pytest.mark.parametrize("suffix", ["", "_nonrgb"])
def test_pixels_and_gallery(
    grounded, grounded_provider: TorchEncoder[ImageGrounded], suffix: str
) -> None:
    provider, images = grounded_provider, grounded.images(f"images{suffix}")
    assert_allclose(
        here(provider.pixels(images)), grounded.expected[f"pixel_values{suffix}"], rtol=0, atol=1e-6
    )
    features = provider.encode_gallery(images)
    assert features.dtype == np.float32
    assert_allclose(features, grounded.expected[f"gallery_features{suffix}"], rtol=0, atol=2e-6)


def test_queries_and_similarity(grounded, grounded_provider: TorchEncoder[ImageGrounded]) -> None:
    provider = grounded_provider
    queries = provider.encode_queries(queries_of(grounded.references(), numbers(grounded)))
    assert_allclose(queries, grounded.expected["query_features"], rtol=0, atol=2e-6)
    for suffix in ("", "_nonrgb"):
        gallery = provider.encode_gallery(grounded.images(f"images{suffix}"))
        scores = provider.similarity(queries, gallery)
        assert scores.dtype == np.float32
        assert_allclose(scores, grounded.expected[f"similarity{suffix}"], rtol=0, atol=2e-6)


def test_from_captions_to_scores(grounded, real_vocabulary: Path) -> None:
    provider = grounded.load(real_vocabulary)
    queries = provider.encode_queries(queries_of(grounded.references(), texts(grounded)))
    scores = provider.similarity(queries, provider.encode_gallery(grounded.images()))
    assert_allclose(scores, grounded.expected["similarity"], rtol=0, atol=2e-6)


def test_second_stage_layout_gives_the_same(grounded, vocabulary: Path, tmp_path: Path) -> None:
    first = torch.load(grounded.folder / "checkpoint.pt", weights_only=True)["BLIP_Retrieval"]
    second = {f"blip.{key}": value for key, value in first.items()} | {"tau": torch.ones(())}
    torch.save({"epoch": 3, "state_dict": second}, tmp_path / "best.pt")
    features = grounded.load(vocabulary, checkpoint=tmp_path / "best.pt").encode_gallery(
        grounded.images()
    )
    assert_allclose(features, grounded.expected["gallery_features"], rtol=0, atol=2e-6)
