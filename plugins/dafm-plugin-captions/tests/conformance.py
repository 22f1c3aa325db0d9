"""How each provider of this plugin loads for core's conformance suite: on made-up captions.

The suite's images are called ``image-0`` to ``image-5``; the last has no captions. The sentence
encoder is the real one, as the extra ``[offline]`` installs it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CAPTIONS = {
    "image-0": ["A red car on a road.", "A shiny red car parked."],
    "image-1": ["A blue car on a road, seen from behind."],
    "image-2": ["A brown dog runs in a field.", "A dog plays.", "The dog chases a ball."],
    "image-3": ["A cat sleeps on a sofa."],
    "image-4": ["A formal dress with longer sleeves."],
}


def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Return the ``--set`` options of every provider, by name; files it needs go to ``folder``."""
    path = folder / "captions.json"
    path.write_text(json.dumps(CAPTIONS))
    lexical = {"captions": str(path)}
    sentence = lexical | {"device": "cpu"}
    return {
        "captions-bm25": lexical,
        "captions-tfidf": lexical,
        "captions-sentence": sentence,
        "captions-sentence-best": sentence,
    }
