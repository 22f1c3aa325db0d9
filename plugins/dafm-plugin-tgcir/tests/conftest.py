"""The recorded case, the vocabulary where there is one, and stand-ins for it where not."""

from __future__ import annotations

import json
import os
import shutil
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef
from dafm_core.testing.device import here
from dafm_core.testing.recorded import read_recorded, restore_checkpoints
from dafm_core.wrapping.clip import tokenizer
from dafm_core.wrapping.clip.random_weights import random_state, text_shapes, vit_shapes

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep tiny models from waiting for threads on a busy machine."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded case with its checkpoints written out."""
    folder = tmp_path_factory.mktemp("recorded") / "case"
    shutil.copytree(FIXTURES, folder)
    restore_checkpoints(folder / "checkpoints.npz", folder)
    return folder


@pytest.fixture(scope="session")
def case() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FIXTURES / "case.json").read_text())
    return content


@pytest.fixture(scope="session")
def golden() -> dict[str, NDArray[Any]]:
    return read_recorded(FIXTURES / "expected.npz")


@pytest.fixture(scope="session")
def images(case: dict[str, Any]) -> list[ImageRef]:
    return [ImageRef(name, FIXTURES / "images" / name) for name in case["images"]]


@pytest.fixture(scope="session")
def vocabulary() -> str:
    shared = Path(os.environ.get("DAFM_SHARED", Path(__file__).parents[4] / "shared"))
    path = shared / "vocabularies" / "clip_bpe_simple_vocab_16e6.txt.gz"
    if not path.is_file():
        pytest.skip(f"the CLIP vocabulary is not there: {path}")
    return str(path)


@pytest.fixture
def no_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a provider load with invented merges: for tests in which texts do not matter."""

    def invented(vocabulary: str, where: str) -> list[tuple[str, str]]:
        return [(a, b) for a in string.ascii_lowercase for b in string.ascii_lowercase]

    monkeypatch.setattr(tokenizer, "read_merges", invented)


@pytest.fixture
def recorded_ids(
    monkeypatch: pytest.MonkeyPatch,
    no_vocabulary: None,
    case: dict[str, Any],
    golden: dict[str, NDArray[Any]],
) -> None:
    """Let the tokeniser look recorded texts up instead of splitting them."""
    rows = {q["text"]: row for q, row in zip(case["queries"], golden["token_ids"], strict=True)}

    def look_up(self: object, texts: list[str]) -> NDArray[np.int64]:
        return np.stack([rows[text] for text in texts])

    monkeypatch.setattr(tokenizer.ClipTokenizer, "ids", look_up)


@pytest.fixture
def largest() -> Callable[[Any, Any], float]:
    """Return the largest difference of two arrays."""
    return lambda a, b: float(np.abs(here(a).astype(np.float64) - here(b)).max())


@pytest.fixture(scope="session")
def random_tgcir() -> dict[str, torch.Tensor]:
    """Return a state dict with 11 layers, attentions and more: 10 comes before 2 as a string."""
    dim, prefix = 24, "backbone.clip."
    clip: dict[str, Any] = {"width": 64, "n_layers": 11, "embed_dim": dim}
    shapes = list(text_shapes(**clip, n_tokens=600, context_length=20))
    shapes += vit_shapes(**clip, patch=5, side=3)
    shapes = [(f"{prefix}{key}", shape) for key, shape in shapes]
    for part in ("fc", "text_fc"):
        shapes += [(f"backbone.{part}.weight", (dim, 64)), (f"backbone.{part}.bias", (dim,))]
    shapes += [("backbone.masks.weight", (3, dim))]
    for s in range(12):
        at = f"backbone.tokenlearn.tokenizers.{s}.conv.0"
        shapes += [(f"{at}.weight", (1, dim, 1)), (f"{at}.bias", (1,))]
    for name in ("s_remain_map", "t_remain_map", "t_replace_map"):
        shapes += [(f"{name}.0.weight", (dim, 2 * dim)), (f"{name}.0.bias", (dim,))]
        shapes += [(f"{name}.2.weight", (1, dim)), (f"{name}.2.bias", (1,))]
    shapes += [("local_weight", (15,)), ("loss_T", (1,))]
    return random_state(shapes, seed=5)
