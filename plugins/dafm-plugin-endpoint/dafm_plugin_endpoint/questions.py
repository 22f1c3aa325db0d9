"""What is asked for: texts, images and both, as a server takes them and as the cache knows them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dafm_core.contract.items import ImageRef
from dafm_core.errors import ImageError
from dafm_core.ground.files import sha256_of
from dafm_core.wrapping.decoding import open_rgb

Payload: TypeAlias = dict[str, Any]

QUALITY = 95
"""Of the JPEG that is sent."""


@dataclass(frozen=True)
class Question:
    """One input: a text alone, images alone, or both; its answer is one vector."""

    text: str
    images: tuple[ImageRef, ...] = ()

    def key(self, side: int) -> dict[str, Any]:
        """Return what decides the answer: the text, and the content of each file as sent."""
        return {"text": self.text, "images": [_hash(image) for image in self.images], "side": side}

    def content(self, side: int) -> list[dict[str, Any]]:
        """Return the parts of a message, images first, as vLLM takes them."""
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": _data_url(image, side)}}
            for image in self.images
        ]
        return parts + ([{"type": "text", "text": self.text}] if self.text else [])


def payloads_of(
    questions: Sequence[Question], model: str, *, batch_size: int, side: int, extra: Payload
) -> list[tuple[list[int], Payload]]:
    """Return requests, each with the places of the questions that it answers, in order.

    Texts share a request; a message with images has one of its own.
    """
    common = {"model": model, "encoding_format": "float", **extra}
    texts = [place for place, question in enumerate(questions) if not question.images]
    batches = [texts[i : i + batch_size] for i in range(0, len(texts), batch_size)]
    requests: list[tuple[list[int], Payload]] = [
        (batch, {**common, "input": [questions[place].text for place in batch]})
        for batch in batches
    ]
    for place, question in enumerate(questions):
        if question.images:
            message = {"role": "user", "content": question.content(side)}
            requests.append(([place], {**common, "messages": [message]}))
    return requests


def _hash(image: ImageRef) -> str:
    if image.path is None or not image.path.is_file():
        image.open()  # says what is wrong
        raise ImageError(f"image {image.id!r}: {image.path} cannot be read.")
    return sha256_of(image.path)


def _data_url(image: ImageRef, side: int) -> str:
    picture = open_rgb(image)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
