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
from dafm_plugin_blip4cir.model import BiDirectional
from dafm_plugin_blip4cir.provider import load, load_bi, load_bi_sum

from dafm_core.contract.items import ImageRef
from dafm_core.testing.device import DEVICE
from dafm_core.testing.recorded import read_recorded, restore_checkpoints
from dafm_core.wrapping.blip.encoders import ImageGrounded
from dafm_core.wrapping.encoding import TorchEncoder

FIXTURES = Path(__file__).parent / "fixtures"
SPECIALS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}


@dataclass(frozen=True)
class Case:
    """One golden folder, with its checkpoints written out."""

    folder: Path

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

    def load(self, vocabulary: Path, **options: Any) -> TorchEncoder[ImageGrounded]:
        """Load the image-grounded model."""
        known = {"checkpoint": self.folder / "checkpoint.pt", "device": DEVICE}
        return load(**known | self.facts["options"] | {"vocabulary": str(vocabulary)} | options)

    def files(self) -> dict[str, Path]:
        """Return the three files of BLIP4CIR+Bi, by option."""
        names = {"checkpoint": "blip_pretrained", "text_encoder": "text_encoder"}
        names["combiner"] = "combiner"
        return {o: self.folder / f"checkpoint_{name}.pt" for o, name in names.items()}

    def load_bi(self, vocabulary: Path, **options: Any) -> TorchEncoder[BiDirectional]:
        known = {**self.files(), "vocabulary": str(vocabulary), "device": DEVICE}
        return load_bi(**known | self.facts["options"] | options)

    def load_bi_sum(self, vocabulary: Path, **options: Any) -> TorchEncoder[BiDirectional]:
        known = {**self.files(), "vocabulary": str(vocabulary), "device": DEVICE}
        del known["combiner"]
        return load_bi_sum(**known | self.facts["options"] | options)


class Recorded:
    """Stands for the tokeniser: the last word of a text is the number of a recorded row."""

    def __init__(self, case: Case) -> None:
        self.ids, self.mask = case.expected["token_ids"], case.expected["attention_mask"]

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        rows = [int(text.split()[-1]) for text in texts]
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
    """Both golden folders with their checkpoints written out."""
    root = tmp_path_factory.mktemp("recorded") / "cases"
    shutil.copytree(FIXTURES, root)
    for folder in (root, root / "image_grounded"):
        restore_checkpoints(folder / "checkpoints.npz", folder)
    return root


@pytest.fixture(scope="session")
def grounded(recorded: Path) -> Case:
    return Case(recorded / "image_grounded")


@pytest.fixture(scope="session")
def bi(recorded: Path) -> Case:
    return Case(recorded)


@pytest.fixture(scope="session")
def grounded_provider(grounded: Case, vocabulary: Path) -> TorchEncoder[ImageGrounded]:
    """The golden model behind recorded token ids, in batches that do not divide the counts."""
    provider = grounded.load(vocabulary, batch_size=4)
    provider.tokenizer = Recorded(grounded)
    return provider


@pytest.fixture(scope="session")
def bi_provider(bi: Case, vocabulary: Path) -> TorchEncoder[BiDirectional]:
    provider = bi.load_bi(vocabulary, batch_size=4)
    provider.tokenizer = Recorded(bi)
    return provider
