"""How the provider of this plugin loads for core's conformance suite: on the recorded tiny file.

CLIP's merges are not in the repository: texts are spelt letter by letter instead.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dafm_core.testing.device import DEVICE
from dafm_core.testing.recorded import restore_checkpoints
from dafm_core.wrapping.clip import tokenizer

FIXTURES = Path(__file__).parent / "fixtures"


def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Return the ``--set`` options of every provider, by name; files go to ``folder``."""
    restore_checkpoints(FIXTURES / "checkpoints.npz", folder)
    monkeypatch.setattr(tokenizer, "read_merges", lambda vocabulary, where: [])
    checkpoint = str(folder / "checkpoint_module.pt")
    return {"tgcir": {"checkpoint": checkpoint, "device": DEVICE, "batch_size": "4"}}
