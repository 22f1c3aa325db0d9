"""How each provider of this plugin loads for core's conformance suite: on made-up captions.

The suite's images are called ``image-0`` to ``image-5``; the last has no captions. The sentence
encoder is the real one, as the extra ``[offline]`` installs it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dafm_core.testing.device import DEVICE

CAPTIONS = {
    "image-0": ["A red car on a road.", "A shiny red car parked."],
    "image-1": ["A blue car on a road, seen from behind."],
    "image-2": ["A brown dog runs in a field.", "A dog plays.", "The dog chases a ball."],
    "image-3": ["A cat sleeps on a sofa."],
    "image-4": ["A formal dress with longer sleeves."],
}


def _clip(folder: Path) -> Path:
    """Save a tiny CLIP, as the plugin that reads images makes it for its own tests."""
    import importlib.util

    plugins = Path(__file__).parents[2]
    path = plugins / "dafm-plugin-sentence-transformers" / "tests" / "conformance.py"
    spec = importlib.util.spec_from_file_location("tiny_clip", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Path = module.clip(folder)
    return made


def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Return the ``--set`` options of every provider, by name; files it needs go to ``folder``."""
    path = folder / "captions.json"
    path.write_text(json.dumps(CAPTIONS))
    edits = folder / "edits.json"
    first = ["A blue car.", "A red van."]  # the suite asks the first query again under this name
    texts = {"query-0": first, "again": first, "query-2": "A field."}
    edits.write_text(json.dumps(texts))
    edited = {"edits": str(edits)}
    lexical = {"captions": str(path)}
    sentence = lexical | {"device": DEVICE}
    return {
        "captions-bm25": lexical,
        "captions-tfidf": lexical,
        "captions-sentence": sentence,
        "captions-sentence-best": sentence,
        "edited-bm25": lexical | edited,
        "edited-sentence": sentence | edited,
        "edited-clip": {"encoder": str(_clip(folder / "clip")), "device": DEVICE} | edited,
    }
