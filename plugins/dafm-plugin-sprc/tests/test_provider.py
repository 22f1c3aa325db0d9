"""Laws of the provider, and what half precision costs."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from dafm_plugin_sprc.model import Sprc
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from dafm_core.contract.items import ImageRef
from dafm_core.contract.provider import is_encoding
from dafm_core.ground.files import sha256_of
from dafm_core.testing import queries_of
from dafm_core.testing.device import DEVICE, here
from dafm_core.wrapping.encoding import TorchEncoder


def test_it_is_an_encoding_provider_with_a_fingerprint(case, provider: TorchEncoder[Sprc]) -> None:
    assert is_encoding(provider)
    fingerprint = provider.fingerprint
    assert fingerprint["checkpoint_sha256"] == sha256_of(case.checkpoint)
    assert f"bicubic {case.facts['image_size']}," in fingerprint["preprocessing"]
    assert all(isinstance(value, str) for value in fingerprint.values())


def test_nothing_is_left_on_the_meta_device_and_nothing_trains(
    provider: TorchEncoder[Sprc],
) -> None:
    tensors = [*provider.network.parameters(), *provider.network.buffers()]
    assert not any(tensor.is_meta or tensor.requires_grad for tensor in tensors)
    assert not any(module.training for module in provider.network.modules())
    assert {tensor.dtype for tensor in provider.network.parameters()} == {torch.float32}


def test_float32_tensors_stay_on_the_memory_of_the_file(eva, vocabulary: Path) -> None:
    content = torch.load(eva.checkpoint, weights_only=True, mmap=True)
    provider = eva.load(vocabulary)
    words = content["Blip2QformerCirAlignPrompt"]["Qformer.bert.embeddings.word_embeddings.weight"]
    table = provider.network.qformer.word.weight
    assert_array_equal(here(table), words.numpy())
    if DEVICE == "cpu":
        size = eva.checkpoint.stat().st_size
        assert table.untyped_storage().nbytes() >= size // 2  # the whole file


def test_batches_and_blocks_change_nothing(case, provider: TorchEncoder[Sprc]) -> None:
    texts = [str(row) for row in range(len(case.queries))]
    together = provider.encode_queries(queries_of(case.references(), texts))
    alone = [
        provider.encode_queries(queries_of([reference], [text]))[0]
        for reference, text in zip(case.references(), texts, strict=True)
    ]
    assert_allclose(alone, together, rtol=0, atol=1e-6)
    images = case.images()
    turned = provider.encode_gallery(images[::-1])[::-1]
    assert_allclose(turned, provider.encode_gallery(images), rtol=0, atol=1e-5)


def test_each_distinct_reference_is_decoded_once(eva, vocabulary: Path) -> None:
    provider, seen = eva.load(vocabulary), []
    decode = provider.decode
    provider.decode = lambda images: seen.extend(images) or decode(images)  # type: ignore
    a, b, *_ = eva.images()
    provider.encode_queries(queries_of([a, b, a, a], ["word200"] * 4))
    assert seen == [a, b]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.01), ("bfloat16", 0.05)])
def test_half_precision_is_near_and_stays_in_the_image_encoder(
    case, vocabulary: Path, dtype: str, tolerance: float
) -> None:
    provider = case.load(vocabulary, dtype=dtype)
    features = provider.encode_gallery(case.images())
    assert features.dtype == np.float32
    distance = np.abs(features - case.expected["gallery_features"]).max()
    assert 1e-5 < distance < tolerance  # it took effect, and not too much
    half = {n for n, p in provider.network.named_parameters() if p.dtype != torch.float32}
    assert half
    assert all(name.startswith("vision.") and "norm" not in name for name in half)
    assert provider.fingerprint["vision_dtype"] == dtype


def test_workers_decode_the_same_pixels(eva, vocabulary: Path) -> None:
    provider = eva.load(vocabulary, workers=1)
    features = provider.encode_gallery(eva.images())
    provider.decode.close()
    assert_allclose(features, eva.expected["gallery_features"], rtol=0, atol=1e-5)


def test_an_empty_text_is_scored_and_warned_of(
    eva, vocabulary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider = eva.load(vocabulary)
    with caplog.at_level(logging.WARNING):
        features = provider.encode_queries(queries_of(eva.images()[:2], ["", " ... "]))
    assert np.isfinite(features).all()
    assert caplog.messages == [
        "sprc: 2 of 2 texts are empty: the reference image alone decides their ranking."
    ]


def test_a_long_text_is_cut_where_training_cut_it(eva, vocabulary: Path) -> None:
    provider, images = eva.load(vocabulary), eva.images()[:1]
    words = [f"word{200 + i}" for i in range(60)]
    long, cut, shorter = (
        provider.encode_queries(queries_of(images, [" ".join(words[:n])])) for n in (60, 30, 29)
    )
    assert_array_equal(long, cut)
    assert not np.array_equal(cut, shorter)


def test_a_strip_of_one_pixel_is_an_image(eva, vocabulary: Path, tmp_path: Path) -> None:
    path = tmp_path / "strip.png"
    Image.new("RGB", (1, 5000), "red").save(path)
    features = eva.load(vocabulary).encode_gallery([ImageRef("strip", path)])
    assert np.isfinite(features).all()


@pytest.mark.parametrize(("stored", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 0.02)])
def test_files_saved_in_one_precision_are_cast(
    case, vocabulary: Path, tmp_path: Path, stored: torch.dtype, tolerance: float
) -> None:
    content = torch.load(case.checkpoint, weights_only=True)
    (entry,) = content.keys() - {"epoch"}
    content[entry] = {
        key: value.to(stored) if value.is_floating_point() else value
        for key, value in content[entry].items()
    }
    torch.save(content, tmp_path / "saved.pt")
    provider = case.load(vocabulary, checkpoint=tmp_path / "saved.pt")
    assert {tensor.dtype for tensor in provider.network.parameters()} == {torch.float32}
    features = provider.encode_gallery(case.images())
    assert_allclose(features, case.expected["gallery_features"], rtol=0, atol=tolerance)
