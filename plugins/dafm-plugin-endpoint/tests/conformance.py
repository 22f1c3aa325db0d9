"""A server that stands for a model, and how the provider loads for core's conformance suite.

Its vectors follow from words and pixels alone: a text is the sum of a direction per word, an image
of its mean colours, a message of its parts.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

N_DIMS = 8


def _direction(word: str) -> Any:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(N_DIMS)


def vector(text: str, urls: tuple[str, ...] = ()) -> list[float]:
    from PIL import Image

    total = np.ones(N_DIMS) / 8
    for word in text.split():
        total = total + _direction(word)
    for url in urls:
        picture = Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))
        assert picture.mode == "RGB"
        for channel, mean in enumerate(np.asarray(picture).mean(axis=(0, 1)) / 255):
            total = total + mean * _direction(f"channel {channel}")
    return [float(value) for value in total]


def answer(payload: dict[str, Any]) -> dict[str, Any]:
    """Return what a server answers: embeddings, last one first."""
    if "input" in payload:
        rows = [vector(text) for text in payload["input"]]
    else:
        (message,) = payload["messages"]
        parts = message["content"]
        text = " ".join(part["text"] for part in parts if part["type"] == "text")
        urls = tuple(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
        rows = [vector(text, urls)]
    if size := payload.get("dimensions"):
        rows = [row[:size] for row in rows]
    data = [{"index": i, "embedding": row} for i, row in enumerate(rows)]
    return {"data": data[::-1], "model": payload["model"]}


def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Return the ``--set`` options of every provider, by name; no connection is opened."""
    from dafm_core.wrapping.endpoint import client

    def exchange(request: Any, timeout: float) -> client.Reply:
        body = json.dumps(answer(json.loads(request.data))).encode()
        return client.Reply(status=200, headers={}, body=body)

    monkeypatch.setattr(client, "exchange", exchange)
    options = {"endpoint": "http://models.invalid", "model": "tiny", "send": "yes"}
    return {"endpoint": {**options, "cache": str(folder / "answers.sqlite")}}
