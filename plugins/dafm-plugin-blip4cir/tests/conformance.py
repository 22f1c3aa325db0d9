"""How each provider of this plugin loads for core's conformance suite: on the recorded tiny files.

Not recorded are token ids for the suite's own texts: the vocabulary is spelt letter by letter, so
that every text has pieces and different texts differ.
"""

from __future__ import annotations

import json
from pathlib import Path
from string import ascii_lowercase, digits, punctuation

import pytest

from dafm_core.testing.device import DEVICE
from dafm_core.testing.recorded import restore_checkpoints

FIXTURES = Path(__file__).parent / "fixtures"
SPECIALS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
FILES = {"checkpoint": "blip_pretrained", "text_encoder": "text_encoder", "combiner": "combiner"}


def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Return the ``--set`` options of every provider, by name; files it needs go to ``folder``."""
    shared = {"vocabulary": str(write_vocabulary(folder)), "device": DEVICE, "batch_size": "4"}
    grounded = FIXTURES / "image_grounded"
    for recorded in (FIXTURES, grounded):
        restore_checkpoints(recorded / "checkpoints.npz", folder)
    bi = {name: str(folder / f"checkpoint_{file}.pt") for name, file in FILES.items()}
    bi |= _heads(FIXTURES) | shared
    return {
        "blip4cir": {"checkpoint": str(folder / "checkpoint.pt")} | _heads(grounded) | shared,
        "blip4cir-bi": bi,
        "blip4cir-bi-sum": {name: value for name, value in bi.items() if name != "combiner"},
    }


def write_vocabulary(folder: Path) -> Path:
    """Write a vocabulary of bert-base-uncased's size whose words are single characters."""
    letters = ascii_lowercase + digits
    pieces = iter([*letters, *punctuation, *(f"##{letter}" for letter in letters)])
    words = [SPECIALS.get(i) or next(pieces, f"[word {i}]") for i in range(30_522)]
    path = folder / "vocab.txt"
    path.write_text("\n".join(words))
    return path


def _heads(folder: Path) -> dict[str, str]:
    options = json.loads((folder / "case.json").read_text())["options"]
    return {name: str(value) for name, value in options.items()}
