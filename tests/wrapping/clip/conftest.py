"""Where the real vocabulary of CLIP is."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def vocabulary() -> str:
    shared = Path(os.environ.get("DAFM_SHARED", Path(__file__).parents[4] / "shared"))
    path = shared / "vocabularies" / "clip_bpe_simple_vocab_16e6.txt.gz"
    if not path.is_file():
        pytest.skip(f"the CLIP vocabulary is not there: {path}")
    return str(path)
