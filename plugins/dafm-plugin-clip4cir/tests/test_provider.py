"""Parity with the recorded originals, and what a wrong input says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dafm_plugin_clip4cir.model import Clip4Cir
from dafm_plugin_clip4cir.provider import load
from numpy.typing import NDArray
from PIL import Image

from dafm_core.contract.items import ImageRef
from dafm_core.errors import DafmError, ImageError, OptionError, ProviderError
from dafm_core.testing import queries_of
from dafm_core.testing.device import DEVICE, there
from dafm_core.wrapping.encoding import TorchEncoder
from dafm_core.wrapping.precision import exact

Golden = dict[str, NDArray[Any]]
Largest = Callable[[Any, Any], float]

QUERIES = {
    "clip4cir": ("query_features", "similarity"),
    "sum": ("query_features_sum", "similarity_sum"),
}


def provider(fixtures: Path, kind: str = "clip4cir", **options: Any) -> TorchEncoder[Clip4Cir]:
    combiner = fixtures / "checkpoint_combiner.pt" if kind == "clip4cir" else None
    checkpoint = options.pop("checkpoint", fixtures / "checkpoint_clip.pt")
    options = {"vocabulary": "recorded", "device": DEVICE} | options
    return load(checkpoint=checkpoint, combiner=combiner, **options)


@pytest.mark.usefixtures("recorded_ids")
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("kind", QUERIES)
def test_features_and_similarities_of_the_original(
    fixtures: Path,
    images: list[ImageRef],
    case: dict[str, Any],
    golden: Golden,
    largest: Largest,
    kind: str,
    rounded: bool,
) -> None:
    model = provider(fixtures, kind, float16_rounding=rounded, batch_size=5)
    place = {image.id: image for image in images}
    references = [place[q["reference"]] for q in case["queries"]]
    gallery = model.encode_gallery(images)
    queries = model.encode_queries(queries_of(references, [q["text"] for q in case["queries"]]))
    similarity = model.similarity(queries, gallery)
    features, name = QUERIES[kind]
    assert {x.dtype for x in (gallery, queries, similarity)} == {np.dtype(np.float32)}
    if rounded:
        assert largest(similarity, golden[f"{name}_fp16_rounded"]) < 1e-5
        assert largest(similarity, golden[name]) > 1e-5  # the rounding is seen
        return
    assert largest(similarity, golden[name]) < 1e-5
    assert largest(gallery, golden["gallery_features"]) < 1e-5
    assert largest(queries, golden[features]) < 1e-5
    with exact():
        image = model.network.read(model.pixels(images))
        text = model.network.text(there(golden["token_ids"])).feature
    assert largest(image, golden["image_features"]) < 1e-4
    assert largest(text, golden["text_features"]) < 2e-5


@pytest.mark.usefixtures("no_vocabulary")
def test_pixels_of_the_original(
    fixtures: Path, images: list[ImageRef], case: dict[str, Any], golden: Golden, largest: Largest
) -> None:
    model = provider(fixtures)
    others = [ImageRef(n, fixtures / "images_nonrgb" / n) for n in case["images_nonrgb"]]
    for name, refs in (("pixel_values", images), ("pixel_values_nonrgb", others)):
        assert largest(model.pixels(refs), golden[name]) < 1e-6


def test_token_ids_of_the_original(
    fixtures: Path, case: dict[str, Any], golden: Golden, vocabulary: str
) -> None:
    model = provider(fixtures, vocabulary=vocabulary)
    (ids,) = model.tokenizer([q["text"] for q in case["queries"]])
    np.testing.assert_array_equal(ids, golden["token_ids"])
    with pytest.raises(ProviderError, match="at most 75 tokens, got 80") as caught:
        model.encode_queries(queries_of([ImageRef("never opened")], ["red " * 80]))
    assert "\n" not in str(caught.value)
    assert model.tokenizer(["", " \t "])[0][:, :3].tolist() == [[49406, 49407, 0]] * 2


@pytest.mark.usefixtures("recorded_ids")
def test_each_distinct_reference_is_decoded_once(
    fixtures: Path, images: list[ImageRef], case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = provider(fixtures), list[ImageRef]()
    decode = type(model.decode).__call__

    def watched(self: Any, refs: list[ImageRef]) -> NDArray[Any]:
        seen.extend(refs)
        return decode(self, refs)

    monkeypatch.setattr(type(model.decode), "__call__", watched)
    texts = [q["text"] for q in case["queries"]][:6]
    a, b = images[:2]
    repeated = model.encode_queries(queries_of([a, b, a, a, b, a], texts))
    assert seen == [a, b]
    single = np.concatenate(
        [model.encode_queries(queries_of([r], [t])) for r, t in zip([a, b, a], texts, strict=False)]
    )
    np.testing.assert_allclose(repeated[:3], single, atol=1e-5)


@pytest.mark.usefixtures("recorded_ids")
@pytest.mark.parametrize(("dtype", "least"), [("float16", 0.99), ("bfloat16", 0.7)])
def test_half_precision_stays_close(
    fixtures: Path, images: list[ImageRef], golden: Golden, dtype: str, least: float
) -> None:
    gallery = provider(fixtures, dtype=dtype).encode_gallery(images)
    assert gallery.dtype == np.float32
    assert least < (gallery * golden["gallery_features"]).sum(axis=1).min() < 0.99999


@pytest.mark.usefixtures("no_vocabulary")
def test_workers_decode_the_same_pixels(fixtures: Path, images: list[ImageRef]) -> None:
    here, there = provider(fixtures), provider(fixtures, workers=1)
    try:
        np.testing.assert_array_equal(there.decode(images[:3]), here.decode(images[:3]))
    finally:
        there.decode.close()


@pytest.mark.usefixtures("no_vocabulary")
def test_odd_images_are_scored_or_named(fixtures: Path, tmp_path: Path) -> None:
    model = provider(fixtures)
    Image.new("RGB", (1, 5000), "red").save(tmp_path / "strip.png")
    assert np.isfinite(model.encode_gallery([ImageRef("strip", tmp_path / "strip.png")])).all()
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ImageError, match=r"'text'.*text\.png is not an image"):
        model.encode_gallery([ImageRef("text", tmp_path / "text.png")])


def test_the_fingerprint_tells_files_and_settings_apart(
    fixtures: Path, no_vocabulary: None
) -> None:
    variants = [
        provider(fixtures),
        provider(fixtures, "sum"),
        provider(fixtures, float16_rounding=True),
        provider(fixtures, dtype="bfloat16"),
    ]
    prints = [dict(v.fingerprint) for v in variants]
    assert all(isinstance(value, str) for p in prints for value in p.values())
    assert all(a != b for i, a in enumerate(prints) for b in prints[:i])


@pytest.mark.usefixtures("no_vocabulary")
def test_bad_options_are_one_line(fixtures: Path, tmp_path: Path) -> None:
    fiq, cirr = tmp_path / "fiq_comb_RN50x4_fullft.pt", tmp_path / "cirr_clip_RN50x4_fullft.pt"
    shutil.copy(fixtures / "checkpoint_combiner.pt", fiq)
    shutil.copy(fixtures / "checkpoint_clip.pt", cirr)
    bad: list[tuple[str, dict[str, Any]]] = [
        ("of one dataset", {"checkpoint": cirr, "combiner": fiq}),
        ("device", {"device": "abacus"}),
        ("dtype", {"dtype": "float8"}),
        ("batch_size", {"batch_size": 0}),
        ("workers", {"workers": -1}),
    ]
    good: dict[str, Any] = {
        "checkpoint": fixtures / "checkpoint_clip.pt",
        "combiner": fixtures / "checkpoint_combiner.pt",
        "vocabulary": "invented",
    }
    for part, options in bad:
        with pytest.raises(OptionError, match=part) as caught:
            load(**(good | options))
        assert "\n" not in str(caught.value)
    assert load(**(good | {"checkpoint": cirr})).fingerprint  # one name alone says nothing


def test_a_checkpoint_with_another_vocabulary_is_refused(fixtures: Path, tmp_path: Path) -> None:
    content = torch.load(fixtures / "checkpoint_clip.pt", weights_only=True)
    content["CLIP"]["token_embedding.weight"] = torch.zeros(1000, 128)
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(DafmError, match="49408 tokens, got 1000"):
        provider(fixtures, checkpoint=tmp_path / "x.pt")
