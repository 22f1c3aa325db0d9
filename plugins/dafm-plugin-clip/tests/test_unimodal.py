"""``clip`` against the library used by hand, for every kind of tower and every composition."""

import sys
import types

import numpy as np
import pytest
import torch
import transformers
from dafm_plugin_clip.unimodal import load
from PIL import Image

from dafm_core.contract.items import ImageRef, Query
from dafm_core.errors import ImageError, OptionError, ProviderError
from dafm_core.testing.device import DEVICE, here
from dafm_core.wrapping.hub import Pinned

TEXTS = ["red dress", "more a", "b"]


@pytest.fixture(scope="module")
def models(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {kind: made.tiny(kind, folder / kind) for kind in ("clip", "siglip", "siglip2", "text")}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    refs = []
    for number, mode in enumerate(("RGB", "L", "RGBA", "P", "CMYK", "1")):
        pixels = rng.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        path = folder / f"{number}.{'tif' if mode == 'CMYK' else 'png'}"
        Image.fromarray(pixels).convert(mode).save(path)
        refs.append(ImageRef(str(number), path))
    return refs


def by_hand(kind, folder, images):
    """Raw features of texts and images, as the library's pages compute them."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pictures = [Image.open(image.path).convert("RGB") for image in images]
    padding = {} if kind == "clip" else {"padding": "max_length", "max_length": 16}
    tokens = tokenizer(TEXTS, **{"padding": True} | padding, return_tensors="pt")
    tokens.pop("token_type_ids", None)
    with torch.inference_mode():
        text = model.get_text_features(**tokens).pooler_output
        image = model.get_image_features(**processor(images=pictures, return_tensors="pt"))
    return text.numpy(), image.pooler_output.numpy()


def ask(name, references, text):
    return Query(id=name, references=references, text=text)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
def test_features_are_those_of_the_library(kind, models, images):
    text, image = by_hand(kind, models[kind], images)
    queries = [ask(str(i), (images[i],), t) for i, t in enumerate(TEXTS)]
    own = image[: len(TEXTS)]
    expected = {
        ("text", 1.0): text,
        ("image", 1.0): own,
        ("rows", 0.3): unit(text) + 0.3 * unit(own),
        ("sum", 1.0): text + own,
        ("sum", 0.3): text + 0.3 * own,
    }
    for (compose, weight), rows in expected.items():
        settings = {"compose": compose, "weight": weight, "device": DEVICE, "batch_size": 2}
        provider = load(model=str(models[kind]), **settings)
        asked, gallery = provider.encode_queries(queries), provider.encode_gallery(images)
        np.testing.assert_allclose(gallery, unit(image), atol=1e-6)
        np.testing.assert_allclose(asked, unit(rows), atol=1e-6)
        scores = provider.similarity(asked, gallery)
        np.testing.assert_allclose(scores, unit(rows) @ unit(image).T, atol=2e-6)


def test_a_text_alone_opens_no_reference_and_the_template_is_read(models):
    queries = [ask("q", (ImageRef("never opened"),), "dress"), ask("r", (), "dress")]
    plain = load(model=str(models["clip"]), compose="text", device=DEVICE)
    asked = plain.encode_queries(queries)
    np.testing.assert_allclose(asked[0], asked[1], atol=1e-6)
    other = load(model=str(models["clip"]), compose="text", template="red {caption}", device=DEVICE)
    filled = plain.encode_queries([ask("s", (), "red dress")])
    np.testing.assert_allclose(other.encode_queries(queries[1:]), filled, atol=1e-6)
    assert other.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("options", "error", "part"),
    [
        ({"model": "text"}, ProviderError, "expected a model of texts and images"),
        ({"model": "/nowhere/at/all"}, ProviderError, "does not exist"),
        ({"revision": "v1"}, OptionError, "expected none for a folder"),
        ({"compose": "product"}, OptionError, "compose"),
        ({"library": "openclip"}, OptionError, "did you mean 'open_clip'"),
        ({"template": "a photo"}, OptionError, "expected one {caption}"),
        ({"weight": float("nan")}, OptionError, "weight"),
        ({"library": "open_clip"}, OptionError, r"pip install 'dafm-plugin-clip\[open-clip\]'"),
    ],
)
def test_wrong_options_and_models_are_one_line(options, error, part, models, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    model = options.get("model", "clip")
    with pytest.raises(error, match=part) as caught:
        load(device=DEVICE, **options | {"model": str(models.get(model, model))})
    assert "\n" not in str(caught.value)


def test_incomplete_folders_and_unknown_names(models, tmp_path, monkeypatch):
    with pytest.raises(ProviderError, match=r"expected model.safetensors"):
        load(model=str(tmp_path), device=DEVICE)
    weights = (models["clip"] / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((models["clip"] / name).read_bytes())
    with pytest.raises(ProviderError, match="cannot be loaded") as caught:
        load(model=str(tmp_path), device=DEVICE)
    assert "\n" not in str(caught.value)

    asked = []

    def refuse(name, **options):
        asked.append((name, options["revision"], options["local_files_only"]))
        raise OSError("Connection reset.\nSee the page.")

    pinned = Pinned("nobody/none", "c0ffee", is_cached=True)
    monkeypatch.setattr("dafm_plugin_clip.source.pin", lambda *_: pinned)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(
        ProviderError, match=r"'nobody/none' cannot be had \(Connection reset\)"
    ) as caught:
        load(model="nobody/none", revision="v9", device=DEVICE)
    assert "\n" not in str(caught.value)
    assert asked == [("nobody/none", "c0ffee", True)]


def test_a_text_beyond_the_context_and_a_deep_image_are_named(models, tmp_path):
    provider = load(model=str(models["clip"]), device=DEVICE, compose="text")
    with pytest.raises(ProviderError, match="at most 16 tokens, got 22"):
        provider.encode_queries([ask("q", (), "a " * 20)])
    Image.new("I;16", (20, 20)).save(tmp_path / "deep.png")
    with pytest.raises(ImageError, match="8 bits"):
        provider.encode_gallery([ImageRef("deep", tmp_path / "deep.png")])


def test_open_clip_is_asked_as_its_pages_say(images, monkeypatch, tmp_path):
    """The library needs torchvision; a stand-in has its two functions and three calls."""
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 4)
    network.encode_image = lambda pixels: network(pixels.mean(dim=(2, 3)))
    network.encode_text = lambda ids: network(ids.float())
    asked = []

    def create(name, **options):
        asked.append((name, options))
        return network, lambda image: torch.tensor(np.array(image.resize((2, 2)))).permute(2, 0, 1)

    def tokenizer(name):
        return lambda texts: torch.tensor([[len(t), t.count("a"), 1] for t in texts])

    stand_in = types.SimpleNamespace(create_model_from_pretrained=create, get_tokenizer=tokenizer)
    monkeypatch.setitem(sys.modules, "open_clip", stand_in)
    (tmp_path / "w.pt").write_bytes(b"")
    for model, name in (("org/name", "hf-hub:org/name"), (f"ViT-B-32:{tmp_path}/w.pt", "ViT-B-32")):
        provider = load(model=model, library="open_clip", compose="sum", device=DEVICE)
        assert asked[-1][0] == name
        rows = provider.encode_queries([ask("q", (images[0],), "banana")])
        with torch.inference_mode():
            picture = torch.tensor(np.array(Image.open(images[0].path).resize((2, 2))))
            image = network(picture.float().mean(dim=(0, 1))[None].to(DEVICE))
            text = network(torch.tensor([[6.0, 3, 1]], device=DEVICE))
        np.testing.assert_allclose(rows, unit(here(image + text)), atol=1e-6)
    assert asked[-1][1] == {"pretrained": f"{tmp_path}/w.pt"}
    load(model="ViT-B-32:laion2b", library="open_clip", device=DEVICE)
    assert asked[-1] == ("ViT-B-32", {"pretrained": "laion2b"})
    for model in (f"ViT-B-32:{tmp_path}/none.pt", f"{tmp_path}/none", "local-dir:/no/where"):
        n_asked = len(asked)
        with pytest.raises(ProviderError, match=r"no.* does not exist"):
            load(model=model, library="open_clip", device=DEVICE)
        assert len(asked) == n_asked  # not even the library, which would ask the hub
