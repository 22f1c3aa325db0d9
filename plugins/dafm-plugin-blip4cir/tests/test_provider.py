"""Laws of both providers, and what half precision costs."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dafm_plugin_blip4cir.model import Combiner
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from dafm_core.contract.items import ImageRef
from dafm_core.contract.provider import is_encoding
from dafm_core.ground.files import sha256_of
from dafm_core.testing import queries_of
from dafm_core.testing.device import here


@pytest.fixture(params=["grounded", "bi", "sum"])
def loaded(request: pytest.FixtureRequest, vocabulary: Path) -> tuple[Any, Any]:
    """A golden case and its provider."""
    case = request.getfixturevalue("grounded" if request.param == "grounded" else "bi")
    load = {"grounded": case.load, "bi": case.load_bi, "sum": case.load_bi_sum}[request.param]
    return case, lambda **options: load(vocabulary, **options)


def test_it_is_an_encoding_provider_with_a_fingerprint(loaded) -> None:
    case, load = loaded
    provider = load()
    assert is_encoding(provider)
    fingerprint = provider.fingerprint
    files = case.files() if "blip_pretrained" in str(case.facts) else {}
    path = files.get("checkpoint", case.folder / "checkpoint.pt")
    assert fingerprint["checkpoint_sha256"] == sha256_of(path)
    assert f"bicubic {case.facts['image_size']}," in fingerprint["preprocessing"]
    assert all(isinstance(value, str) for value in fingerprint.values())


def test_nothing_is_left_on_the_meta_device_and_nothing_trains(loaded) -> None:
    _, load = loaded
    model = load().network
    tensors = [*model.parameters(), *model.buffers()]
    assert not any(tensor.is_meta or tensor.requires_grad for tensor in tensors)
    assert not any(module.training for module in model.modules())
    positions = model.texts.bert.embeddings.position_ids
    assert_array_equal(here(positions)[0], np.arange(model.texts.sizes.positions))


def test_batches_and_blocks_change_nothing(loaded) -> None:
    case, load = loaded
    provider, references = load(batch_size=2), case.references()
    texts = [" ".join(f"word{200 + i}" for i in range(n + 1)) for n in range(len(references))]
    together = provider.encode_queries(queries_of(references, texts))
    again = load(batch_size=100)
    alone = [
        again.encode_queries(queries_of([image], [text]))[0]
        for image, text in zip(references, texts, strict=True)
    ]
    assert_allclose(alone, together, rtol=0, atol=2e-6)
    images = case.images()
    assert_allclose(
        again.encode_gallery(images[::-1])[::-1], provider.encode_gallery(images), atol=2e-6
    )


def test_each_distinct_reference_is_decoded_once(loaded) -> None:
    case, load = loaded
    provider, seen = load(), []
    decode = provider.decode
    provider.decode = lambda images: seen.extend(images) or decode(images)
    a, b, *_ = case.images()
    provider.encode_queries(queries_of([a, b, a, a], ["word200"] * 4))
    assert seen == [a, b]


def test_bi_uses_an_image_of_the_gallery_again_as_reference(bi, vocabulary: Path) -> None:
    provider = bi.load_bi(vocabulary)
    provider.encode_gallery(bi.images())
    provider.decode = None  # type: ignore[assignment]
    assert np.isfinite(provider.encode_queries(queries_of(bi.images()[:1], ["word200"]))).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.01), ("bfloat16", 0.05)])
def test_half_precision_is_near_and_stays_in_the_image_encoder(
    loaded, dtype: str, tolerance: float
) -> None:
    case, load = loaded
    provider = load(dtype=dtype)
    features = provider.encode_gallery(case.images())
    assert features.dtype == np.float32
    assert 1e-5 < np.abs(features - case.expected["gallery_features"]).max() < tolerance
    half = {n for n, p in provider.network.named_parameters() if p.dtype != torch.float32}
    assert half
    assert all(name.startswith("images.vision.") and "norm" not in name for name in half)


def test_workers_decode_the_same_pixels(grounded, vocabulary: Path) -> None:
    provider = grounded.load(vocabulary, workers=1)
    features = provider.encode_gallery(grounded.images())
    provider.decode.close()
    assert_allclose(features, grounded.expected["gallery_features"], rtol=0, atol=2e-6)


def test_an_empty_text_is_scored_and_warned_of(loaded, caplog: pytest.LogCaptureFixture) -> None:
    case, load = loaded
    provider = load()
    with caplog.at_level(logging.WARNING):
        features = provider.encode_queries(queries_of(case.images()[:3], ["", " ", "word200"]))
    assert np.isfinite(features).all()
    (message,) = caplog.messages
    assert message.endswith(
        "2 of 3 texts are empty: the reference image alone decides their ranking."
    )


def test_bi_cuts_a_long_text_where_training_cut_it(bi, vocabulary: Path) -> None:
    provider, images = bi.load_bi(vocabulary), bi.images()[:1]
    words = [f"word{200 + i}" for i in range(120)]
    # [CLS] [SEP] and one marker, three unknown pieces here, of 77
    long, cut, shorter = (
        provider.encode_queries(queries_of(images, [" ".join(words[:n])])) for n in (120, 72, 71)
    )
    assert_array_equal(long, cut)
    assert not np.array_equal(cut, shorter)


@pytest.mark.parametrize("kind", ["grounded", "bi"])
def test_a_strip_of_one_pixel_is_an_image(
    kind: str, request: pytest.FixtureRequest, vocabulary: Path, tmp_path: Path
) -> None:
    case = request.getfixturevalue(kind)
    provider = (case.load if kind == "grounded" else case.load_bi)(vocabulary)
    path = tmp_path / "strip.png"
    Image.new("RGB", (5000, 1), "red").save(path)
    assert np.isfinite(provider.encode_gallery([ImageRef("strip", path)])).all()


def test_combiner_against_its_formula() -> None:
    torch.manual_seed(0)
    combiner = Combiner(3, 4, 5).eval()
    image, text = torch.randn(2, 7, 3)
    layers = {key: value.numpy() for key, value in combiner.state_dict().items()}

    def linear(x, name: str):
        return x @ layers[f"{name}.weight"].T + layers[f"{name}.bias"]

    a = np.maximum(linear(text.numpy(), "text_projection_layer"), 0)
    b = np.maximum(linear(image.numpy(), "image_projection_layer"), 0)
    u = np.concatenate([a, b], axis=1)
    z = linear(np.maximum(linear(u, "dynamic_scalar.0"), 0), "dynamic_scalar.3")
    w = 1 / (1 + np.exp(-z))
    joint = linear(np.maximum(linear(u, "combiner_layer"), 0), "output_layer")
    expected = joint + w * text.numpy() + (1 - w) * image.numpy()
    with torch.inference_mode():
        assert_allclose(combiner(image, text), expected, atol=1e-6)
