import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dafm_core.contract.items import ImageRef, Query


def _tiny():
    spec = importlib.util.spec_from_file_location(
        "tiny_st", Path(__file__).with_name("conformance.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny():
    return _tiny()


@pytest.fixture(scope="session")
def models(tiny, tmp_path_factory):
    """Folder of each kind of tiny model."""
    folder = tmp_path_factory.mktemp("models")
    makers = {
        "clip": tiny.clip,
        "joint": tiny.joint,
        "multivector": tiny.multivector,
        "reranker": tiny.reranker,
        "text-reranker": tiny.text_reranker,
    }
    return {name: str(make(folder / name)) for name, make in makers.items()}


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Six pictures, one of each mode that needs converting."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    refs = []
    for number, mode in enumerate(("RGB", "L", "RGBA", "P", "CMYK", "1")):
        pixels = rng.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        path = folder / f"image-{number}.{'tif' if mode == 'CMYK' else 'png'}"
        Image.fromarray(pixels).convert(mode).save(path)
        refs.append(ImageRef(f"image-{number}", path))
    return refs


@pytest.fixture(scope="session")
def pictures(images):
    return [Image.open(image.path).convert("RGB") for image in images]


@pytest.fixture
def captions(tiny, tmp_path):
    import json

    path = tmp_path / "captions.json"
    path.write_text(json.dumps(tiny.CAPTIONS))
    return path


@pytest.fixture(scope="session")
def queries(images):
    texts = ("is red instead of blue", "a dog", "more formal sleeves")
    return [Query(id=t, references=(images[i],), text=t) for i, t in enumerate(texts)]
