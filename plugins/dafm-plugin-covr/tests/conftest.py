"""Golden cases, and a vocabulary of the right form without meaning: parity needs no real one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dafm_plugin_covr.provider import load_blip, load_blip2

from dafm_core.contract.items import ImageRef
from dafm_core.testing.device import DEVICE
from dafm_core.testing.recorded import read_recorded, restore_checkpoints
from dafm_core.wrapping.encoding import TorchEncoder

FIXTURES = Path(__file__).parent / "fixtures"
SPECIALS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}


@dataclass(frozen=True)
class Case:
    """One golden folder, with its checkpoints written out."""

    folder: Path
    vocabulary: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / "case.json").read_text())
        return facts

    @cached_property
    def expected(self) -> dict[str, np.ndarray]:
        return read_recorded(self.folder / "expected.npz")

    @property
    def texts(self) -> list[str]:
        """Captions as the datasets hand them over; FashionIQ's with ``join=plain``."""
        return [" and ".join(query["captions"]) for query in self.facts["queries"]]

    def images(self, suffix: str = "") -> list[ImageRef]:
        folder = self.folder / f"images{suffix}"
        return [ImageRef(name, folder / name) for name in self.facts[f"images{suffix}"]]

    def references(self) -> list[ImageRef]:
        names = [query["reference"] for query in self.facts["queries"]]
        return [ImageRef(name, self.folder / "images" / name) for name in names]

    def load(self, **options: Any) -> TorchEncoder[Any]:
        known = {
            "checkpoint": self.folder / "checkpoint.ckpt",
            "vocabulary": str(self.vocabulary),
            "device": DEVICE,
            "batch_size": 3,
        }
        if self.name == "blip2":
            known["gallery_checkpoint"] = self.folder / "checkpoint_gallery.pth"
        load: Any = load_blip2 if self.name == "blip2" else load_blip
        provider: TorchEncoder[Any] = load(**known | self.facts["options"] | options)
        return provider

    def recorded(self, **options: Any) -> TorchEncoder[Any]:
        """Return the model behind recorded token ids: a text is the number of a row."""
        provider = self.load(**options)
        ids, mask = self.expected["token_ids"], self.expected["attention_mask"]

        def look_up(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
            rows = [int(text) for text in texts]
            return ids[rows], mask[rows]

        provider.tokenizer = look_up
        return provider


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Spare models of a few kilobytes the threads, which cost more than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_vocabulary() -> Path:
    root = Path(os.environ.get("DAFM_SHARED", Path(__file__).parents[4] / "shared"))
    path = root / "vocabularies" / "bert_base_uncased_vocab.txt"
    if not path.is_file():
        pytest.skip(f"the vocabulary of bert-base-uncased is not at {path}; set DAFM_SHARED")
    return path


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Both golden folders with their checkpoints written out."""
    root = tmp_path_factory.mktemp("recorded") / "cases"
    shutil.copytree(FIXTURES, root)
    (root / "vocab.txt").write_text("\n".join(SPECIALS.get(i, f"word{i}") for i in range(30522)))
    for name in ("blip", "blip2"):
        restore_checkpoints(root / name / "checkpoints.npz", root / name)
    return {name: Case(root / name, root / "vocab.txt") for name in ("blip", "blip2")}


@pytest.fixture(params=["blip", "blip2"])
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]
