"""Parity with the recorded originals, and what a wrong input says."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dafm_plugin_tgcir.model import TgCir
from dafm_plugin_tgcir.provider import load
from numpy.typing import NDArray
from PIL import Image

from dafm_core.contract.items import ImageRef
from dafm_core.errors import ImageError, OptionError, ProviderError
from dafm_core.testing import queries_of
from dafm_core.testing.device import DEVICE, there
from dafm_core.wrapping.encoding import TorchEncoder
from dafm_core.wrapping.precision import exact

Golden = dict[str, NDArray[Any]]
Largest = Callable[[Any, Any], float]

FILES = ("checkpoint_module.pt", "checkpoint_state_dict.pt")


def provider(fixtures: Path, file: str = FILES[0], **options: Any) -> TorchEncoder[TgCir]:
    options = {"vocabulary": "recorded", "device": DEVICE} | options
    return load(checkpoint=fixtures / file, **options)


@pytest.mark.usefixtures("recorded_ids")
@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("file", FILES)
def test_tokens_features_and_similarities_of_the_original(
    fixtures: Path,
    images: list[ImageRef],
    case: dict[str, Any],
    golden: Golden,
    largest: Largest,
    file: str,
    batch_size: int,
) -> None:
    model = provider(fixtures, file, batch_size=batch_size)
    place = {image.id: image for image in images}
    references = [place[q["reference"]] for q in case["queries"]]
    gallery = model.encode_gallery(images)
    queries = model.encode_queries(queries_of(references, [q["text"] for q in case["queries"]]))
    similarity = model.similarity(queries, gallery)
    assert {x.dtype for x in (gallery, queries, similarity)} == {np.dtype(np.float32)}
    assert largest(similarity, golden["similarity"]) < 2e-6
    assert largest(gallery, golden["gallery_features"]) < 2e-6
    assert largest(queries, golden["query_features"]) < 2e-6
    with exact():
        image = model.network.read(model.pixels(images))
        text = model.network.text_tokens(there(golden["token_ids"]))
    assert largest(image, golden["image_tokens"]) < 1e-5
    assert largest(text, golden["text_tokens"]) < 1e-5
    rows = [case["images"].index(r.id) for r in references]
    with exact():
        share = model.network.composition.share(image[rows], text)
    assert largest(share, golden["remain_mask"]) < 1e-5


@pytest.mark.usefixtures("no_vocabulary")
def test_pixels_of_the_original(
    fixtures: Path, images: list[ImageRef], case: dict[str, Any], golden: Golden, largest: Largest
) -> None:
    model = provider(fixtures)
    others = [ImageRef(n, fixtures / "images_nonrgb" / n) for n in case["images_nonrgb"]]
    for name, refs in (("pixel_values", images), ("pixel_values_nonrgb", others)):
        assert largest(model.pixels(refs), golden[name]) < 1e-6


def test_token_ids_of_the_original_from_raw_captions(
    fixtures: Path, case: dict[str, Any], golden: Golden, vocabulary: str, tmp_path: Path
) -> None:
    corrections = tmp_path / "corrections.json"
    corrections.write_text(json.dumps(case["correction_dict"]))
    cirr = provider(fixtures, vocabulary=vocabulary)
    fashioniq = provider(fixtures, vocabulary=vocabulary, corrections=corrections)
    for query, row in zip(case["queries"], golden["token_ids"], strict=True):
        is_cirr = query["dataset"] == "cirr"
        text = query["caption"] if is_cirr else " and ".join(query["captions"])
        (ids,) = (cirr if is_cirr else fashioniq).tokenizer([text])
        np.testing.assert_array_equal(ids[0], row)
    with pytest.raises(ProviderError, match="tgcir: expected a text of at most 75 tokens"):
        cirr.encode_queries(queries_of([ImageRef("never opened")], ["red " * 80]))
    image = ImageRef("a", fixtures / "images" / case["images"][0])
    assert np.isfinite(cirr.encode_queries(queries_of([image], [""]))).all()


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
    a, b = images[:2]
    texts = [q["text"] for q in case["queries"]][:4]
    model.encode_queries(queries_of([a, b, a, a], texts))
    assert seen == [a, b]


@pytest.mark.usefixtures("recorded_ids")
@pytest.mark.parametrize(("dtype", "least"), [("float16", 0.9999), ("bfloat16", 0.99)])
def test_half_precision_stays_close(
    fixtures: Path, images: list[ImageRef], golden: Golden, dtype: str, least: float
) -> None:
    gallery = provider(fixtures, dtype=dtype).encode_gallery(images)
    assert gallery.dtype == np.float32
    assert least < (gallery * golden["gallery_features"]).sum(axis=1).min()


@pytest.mark.usefixtures("no_vocabulary")
def test_odd_images_are_scored_or_named(fixtures: Path, tmp_path: Path) -> None:
    model = provider(fixtures)
    for size in ((1, 5000), (5000, 1)):
        Image.new("RGB", size, "red").save(tmp_path / "strip.png")
        assert np.isfinite(model.encode_gallery([ImageRef("strip", tmp_path / "strip.png")])).all()
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ImageError, match=r"'text'.*text\.png is not an image"):
        model.encode_gallery([ImageRef("text", tmp_path / "text.png")])


@pytest.mark.usefixtures("no_vocabulary")
def test_workers_decode_the_same_pixels(fixtures: Path, images: list[ImageRef]) -> None:
    here, there = provider(fixtures), provider(fixtures, workers=1)
    try:
        np.testing.assert_array_equal(there.decode(images[:3]), here.decode(images[:3]))
    finally:
        there.decode.close()


@pytest.mark.usefixtures("no_vocabulary")
def test_cleaning_without_corrections_says_so(
    fixtures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert provider(fixtures).tokenizer.corrections is None
        assert not caplog.records
        assert provider(fixtures, cleaning="fashioniq").tokenizer.corrections == {}
    assert "words stay as they are spelt" in caplog.text


@pytest.mark.usefixtures("no_vocabulary")
def test_bad_options_are_one_line(fixtures: Path, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{}")
    bad: list[tuple[str, dict[str, Any]]] = [
        ("cleaning", {"cleaning": "fashion"}),
        ("cleaning=fashioniq", {"cleaning": "none", "corrections": tmp_path / "c.json"}),
        ("corrections", {"corrections": tmp_path / "none.json"}),
        ("device", {"device": "abacus"}),
        ("dtype", {"dtype": "float8"}),
        ("batch_size", {"batch_size": 0}),
    ]
    for part, options in bad:
        with pytest.raises(OptionError, match=part) as caught:
            provider(fixtures, **options)
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("no_vocabulary")
def test_the_fingerprint_tells_files_and_settings_apart(fixtures: Path, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{}")
    variants = [
        provider(fixtures),
        provider(fixtures, FILES[1]),
        provider(fixtures, dtype="bfloat16"),
        provider(fixtures, cleaning="fashioniq"),
        provider(fixtures, corrections=tmp_path / "c.json"),
    ]
    prints = [dict(v.fingerprint) for v in variants]
    assert all(isinstance(value, str) for p in prints for value in p.values())
    assert all(a != b for i, a in enumerate(prints) for b in prints[:i])
