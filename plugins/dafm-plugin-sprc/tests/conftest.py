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
from dafm_plugin_sprc.model import Sprc
from dafm_plugin_sprc.provider import load_sprc, load_sprc_spn

from dafm_core.contract.items import ImageRef
from dafm_core.testing.device import DEVICE
from dafm_core.testing.recorded import read_recorded, restore_checkpoints
from dafm_core.wrapping.encoding import TorchEncoder

FIXTURES = Path(__file__).parent / "fixtures"
FOLDERS = ("eva", "clip_l", "spn")
SPECIALS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}


@dataclass(frozen=True)
class Case:
    """One golden folder, with its checkpoint written out."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @cached_property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / "case.json").read_text())
        return facts

    @cached_property
    def expected(self) -> dict[str, np.ndarray]:
        return read_recorded(self.folder / "expected.npz")

    @property
    def queries(self) -> list[dict[str, Any]]:
        queries: list[dict[str, Any]] = self.facts["queries"]
        return queries

    def images(self, kind: str = "images") -> list[ImageRef]:
        return [ImageRef(name, self.folder / kind / name) for name in self.facts[kind]]

    def references(self) -> list[ImageRef]:
        names = [query["reference"] for query in self.queries]
        return [ImageRef(name, self.folder / "images" / name) for name in names]

    def load(self, vocabulary: Path, **options: Any) -> TorchEncoder[Sprc]:
        load = load_sprc_spn if self.name == "spn" else load_sprc
        known = {"checkpoint": self.checkpoint, "vocabulary": str(vocabulary), "device": DEVICE}
        return load(**known | self.facts["options"] | options)


class Recorded:
    """Stands for the tokeniser: the text is the number of a recorded row."""

    def __init__(self, case: Case) -> None:
        self.ids, self.mask = case.expected["token_ids"], case.expected["attention_mask"]

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        rows = [int(text) for text in texts]
        return self.ids[rows], self.mask[rows]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Spare models of a few kilobytes the threads, which cost more than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(SPECIALS.get(i, f"word{i}") for i in range(30522)))
    return path


@pytest.fixture(scope="session")
def real_vocabulary() -> Path:
    root = Path(os.environ.get("DAFM_SHARED", Path(__file__).parents[4] / "shared"))
    path = root / "vocabularies" / "bert_base_uncased_vocab.txt"
    if not path.is_file():
        pytest.skip(f"the vocabulary of bert-base-uncased is not at {path}; set DAFM_SHARED")
    return path


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All golden folders with their checkpoints written out."""
    root = tmp_path_factory.mktemp("recorded") / "cases"
    shutil.copytree(FIXTURES, root)
    for name in FOLDERS:
        restore_checkpoints(root / name / "checkpoints.npz", root / name)
    return root


@pytest.fixture(scope="session", params=FOLDERS)
def case(request: pytest.FixtureRequest, recorded: Path) -> Case:
    return Case(recorded / request.param)


@pytest.fixture(scope="session")
def eva(recorded: Path) -> Case:
    return Case(recorded / "eva")


@pytest.fixture(scope="session")
def provider(case: Case, vocabulary: Path) -> TorchEncoder[Sprc]:
    """The golden model behind recorded token ids, in batches that do not divide the counts."""
    provider = case.load(vocabulary, batch_size=3)
    provider.tokenizer = Recorded(case)
    return provider
