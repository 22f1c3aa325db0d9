import hashlib
import json

import numpy as np
import pytest

from dafm_core.contract.items import ImageRef
from dafm_core.testing.device import DEVICE

CAPTIONS = {
    "red-car": ["A red car on a road.", "A shiny red car parked."],
    "blue-car": ["A blue car on a road."],
    "dog": ["A brown dog runs in a field.", "A dog plays.", "The dog chases a ball."],
    "cat": ["A cat sleeps on a sofa."],
}


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(CAPTIONS))
    return path


@pytest.fixture
def gallery():
    return [ImageRef(name) for name in (*CAPTIONS, "no-captions")]


class BagOfWords:
    """Stands for the sentence encoder: each word is a fixed random direction."""

    n_dims = 64
    identity = "bag of words"

    def __init__(self, encoder, *, batch_size, device):
        self.encoder = encoder

    def __call__(self, sentences):
        rows = np.zeros((len(sentences), self.n_dims), np.float32)
        for row, sentence in zip(rows, sentences, strict=True):
            for word in (*sentence.lower().strip(".").split(), "<end>"):
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
                row += np.random.default_rng(seed).standard_normal(self.n_dims)
            row /= np.linalg.norm(row)
        return rows


@pytest.fixture
def bag_of_words(monkeypatch):
    monkeypatch.setattr("dafm_plugin_captions.sentence.SentenceEncoder", BagOfWords)
    return BagOfWords(None, batch_size=1, device=DEVICE)
