"""The loop against a naive one: order, batches, repeated references, empty input, exact flags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import is_encoding
from dafm_core.errors import DatasetError, ImageError, ProviderError
from dafm_core.testing import ProviderSample, provider_checks, queries_of
from dafm_core.testing.device import DEVICE, here, there
from dafm_core.testing.results import NotApplicable
from dafm_core.wrapping import encoding
from dafm_core.wrapping.encoding import Tokens, TorchEncoder
from dafm_core.wrapping.inference import Settings

SIDE, WIDTH, VECTORS = 4, 5, 3
WORDS = 7


class Toy(nn.Module):
    """Reads every pixel; a candidate has three vectors, a query mixes image and words."""

    def __init__(self, vectors: int = VECTORS) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.row_shape: tuple[int, ...] = (vectors, WIDTH) if vectors else (WIDTH,)
        self.image = nn.Linear(3 * SIDE * SIDE, WIDTH)
        self.words = nn.Embedding(WORDS, WIDTH)
        self.dropout = nn.Dropout(0.5)  # must be switched off
        self.n_read: list[int] = []
        self.n_queries: list[int] = []

    def read(self, pixels: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        assert torch.get_float32_matmul_precision() == "highest"
        self.n_read.append(len(pixels))
        return self.dropout(torch.as_tensor(self.image(pixels.flatten(1))))

    def candidate(self, seen: Tensor) -> Tensor:
        if len(self.row_shape) == 1:
            return seen
        return torch.stack([seen * (1 + i) for i in range(self.row_shape[0])], dim=1)

    def query(self, seen: Tensor, *text: Tensor) -> Tensor:
        ids, mask = text
        self.n_queries.append(len(ids))
        assert len(seen) == len(ids)
        words = torch.as_tensor(self.words(ids)) * mask.unsqueeze(-1)
        return (seen + words.sum(dim=1)).half()


def tokens(texts: Sequence[str]) -> Tokens:
    if any(len(text) > 6 for text in texts):
        raise ProviderError("toy: a text is too long.")
    ids = np.array([[ord(letter) % WORDS for letter in text.ljust(6)] for text in texts], np.int64)
    mask = np.array([[letter != " " for letter in text.ljust(6)] for text in texts], np.int64)
    return ids, mask


class Pixels:
    fingerprint = "resize 4"

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        resized = image.convert("RGB").resize((SIDE, SIDE))
        return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def encoder(batch_size: int = 2, vectors: int = VECTORS, **options: Any) -> TorchEncoder[Toy]:
    settings = Settings.checked(
        "toy", device=DEVICE, dtype="float32", batch_size=batch_size, workers=0
    )
    return TorchEncoder(
        Toy(vectors),
        tokenizer=tokens,
        preprocessing=Pixels(),
        settings=settings,
        fingerprint={"model": "toy"},
        **options,
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[ImageRef]:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{i}.png")
    return [ImageRef(str(i), folder / f"{i}.png") for i in range(5)]


def naive(model: TorchEncoder[Toy], queries: list[Query]) -> NDArray[Any]:
    """One query at a time, on the weights themselves."""
    rows = []
    for query in queries:
        pixels = model.settings.normalised(Pixels()(query.reference.open())[None])
        with torch.inference_mode():
            seen = model.network.image(pixels.flatten(1))
            ids, mask = (there(column) for column in tokens([query.text]))
            words = (model.network.words(ids) * mask.unsqueeze(-1)).sum(1)
        rows.append(here((seen + words).half().float())[0])
    return np.array(rows)


PLACES = [3, 1, 3, 0, 3, 1, 4, 3, 2, 3]
TEXTS = ["red", "", "two", "blue", "red", "a b", "zebra", "dots", "long", "more"]


@pytest.mark.parametrize("keep_read", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_rows_are_those_of_one_query_at_a_time(
    images: list[ImageRef], batch_size: int, keep_read: bool
) -> None:
    model = encoder(batch_size, keep_read=keep_read)
    queries = queries_of([images[i] for i in PLACES], TEXTS)
    np.testing.assert_allclose(model.encode_queries(queries), naive(model, queries), atol=1e-3)
    assert sum(model.network.n_read) == 5, "each distinct reference once"
    assert sum(model.network.n_queries) == len(queries)
    assert max(model.network.n_read + model.network.n_queries) <= batch_size


@pytest.mark.parametrize("keep_read", [False, True])
def test_gallery_rows_follow_the_images(
    images: list[ImageRef], keep_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "DECODED_AT_ONCE", 3)  # and batches of two: 2, 1, 2, 1
    model = encoder(keep_read=keep_read)
    order = [images[i] for i in (4, 0, 2, 2, 1, 3)]
    features = model.encode_gallery(order)
    assert features.dtype == np.float32
    assert features.shape == (6, VECTORS, WIDTH)
    alone = np.concatenate([encoder().encode_gallery([image]) for image in order])
    np.testing.assert_allclose(features, alone, atol=1e-6)


def test_what_was_read_is_kept_for_the_other_side_only_where_asked(images: list[ImageRef]) -> None:
    queries = queries_of(images[:3], ["a", "b", "c"])
    for keep_read, n_more in ((True, 0), (False, 3)):
        model = encoder(keep_read=keep_read)
        model.encode_gallery(images)
        model.network.n_read.clear()
        rows = model.encode_queries(queries)
        assert sum(model.network.n_read) == n_more
        np.testing.assert_allclose(rows, naive(model, queries), atol=1e-3)


def test_nothing_gives_no_rows_of_the_right_width() -> None:
    model = encoder()
    assert model.encode_gallery([]).shape == (0, VECTORS, WIDTH)
    assert model.encode_queries([]).shape == (0, WIDTH)
    assert model.similarity(model.encode_queries([]), model.encode_gallery([])).shape == (0, 0)


def test_the_best_vector_of_a_candidate_counts() -> None:
    rng = np.random.default_rng(0)
    queries, gallery = (rng.normal(size=s).astype(np.float32) for s in ((3, 5), (4, 6, 5)))
    loops = [[max(q @ vector for vector in image) for image in gallery] for q in queries]
    np.testing.assert_allclose(encoder().similarity(queries, gallery), loops, rtol=1e-5)
    single = encoder().similarity(queries, gallery[:, 0])
    np.testing.assert_allclose(single, queries @ gallery[:, 0].T, rtol=1e-6)
    assert single.dtype == np.float32


def test_of_several_vectors_on_both_sides_the_best_pair_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoding, "COMPARED_AT_ONCE", 3)  # of seven candidates
    rng = np.random.default_rng(1)
    queries, gallery = (rng.normal(size=s).astype(np.float32) for s in ((3, 2, 5), (7, 4, 5)))
    loops = [[max(p @ v for p in query for v in image) for image in gallery] for query in queries]
    np.testing.assert_allclose(encoder().similarity(queries, gallery), loops, rtol=1e-5)
    assert encoder().similarity(queries[:0], gallery).shape == (0, 7)
    assert encoder().similarity(queries, gallery[:0]).shape == (3, 0)


class TwoSided(Toy):
    """Reads a reference in another way than a candidate, and asks with two vectors."""

    query_shape = (2, WIDTH)

    def read_reference(self, pixels: Tensor) -> Tensor:
        return self.read(pixels) + 1

    def query(self, seen: Tensor, *text: Tensor) -> Tensor:
        return torch.stack([seen, super().query(seen, *text)], dim=1)


def test_a_reference_may_be_read_in_another_way_and_a_query_have_more_than_one_vector(
    images: list[ImageRef],
) -> None:
    model, plain = encoder(), encoder()
    model = TorchEncoder(
        TwoSided(),
        tokenizer=tokens,
        preprocessing=Pixels(),
        settings=model.settings,
        fingerprint={"model": "two-sided"},
    )
    queries = queries_of(images[:3], ["a", "b", "c"])
    features = model.encode_queries(queries)
    assert features.shape == (3, 2, WIDTH)
    assert (plain.geometry, model.geometry) == ("dot", "")
    np.testing.assert_allclose(features[:, 1], naive(plain, queries) + 1, atol=1e-2)
    np.testing.assert_array_equal(model.encode_gallery(images), plain.encode_gallery(images))
    assert model.encode_queries([]).shape == (0, 2, WIDTH)


def test_floats_of_a_preprocessing_reach_the_network_as_they_are(images: list[ImageRef]) -> None:
    class Halves(Pixels):
        def __call__(self, image: Image.Image) -> NDArray[Any]:
            return super().__call__(image).astype(np.float32) / 2

    model = encoder()
    model.decode.transform = Halves()
    expected = np.stack([Halves()(image.open()) for image in images])
    np.testing.assert_array_equal(here(model.pixels(images)), expected)


def test_texts_are_refused_before_an_image_is_opened() -> None:
    nowhere = ImageRef("never opened")
    with pytest.raises(ProviderError, match="too long"):
        encoder().encode_queries(queries_of([nowhere], ["too long a text"]))
    with pytest.raises(ImageError, match="never opened"):
        encoder().encode_queries(queries_of([nowhere], ["short"]))


@pytest.mark.parametrize("n_references", [0, 2])
def test_a_query_needs_exactly_one_reference(images: list[ImageRef], n_references: int) -> None:
    query = Query(id="q7", references=tuple(images[:n_references]), text="red")
    with pytest.raises(
        DatasetError, match=f"'q7'.*exactly one reference image, got {n_references}"
    ):
        encoder().encode_queries([query])


def test_the_preprocessing_is_in_the_fingerprint() -> None:
    model = encoder()
    assert model.fingerprint == {"model": "toy", "preprocessing": "resize 4"}
    assert is_encoding(model)
    assert not model.network.training


@pytest.mark.parametrize("check", provider_checks(), ids=str)
@pytest.mark.parametrize("vectors", [0, VECTORS])
def test_conformance(check: Any, vectors: int, tmp_path: Path) -> None:
    def anything(texts: Sequence[str]) -> Tokens:
        return tokens([text[:6] for text in texts])

    model = encoder(vectors=vectors)
    model.tokenizer = anything
    try:
        check(model, ProviderSample.draw(tmp_path))
    except NotApplicable as reason:
        pytest.fail(f"every check applies to an encoder: {reason}")
