"""Small copies of images as data URIs, within a budget of bytes that the page states."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dafm_core.contract.items import ImageRef
from dafm_core.errors import ImageError

SIDE = 112
"""Longest side in pixels."""


@dataclass(frozen=True)
class Thumbnails:
    """Images by id as data URIs, and how many of those wanted were left out.

    Parameters
    ----------
    uris : dict of str to str
    over_budget : int
        Left out because the budget was spent.
    unreadable : int
        Left out because there is no file, or it is no image.
    """

    uris: dict[str, str]
    over_budget: int
    unreadable: int


def embed_thumbnails(
    image_ids: Iterable[str], images: Mapping[str, Path], *, budget: int
) -> Thumbnails:
    """Return thumbnails of the first images that fit into ``budget`` bytes of page.

    Parameters
    ----------
    image_ids : iterable of str
        The most important first; repeats are passed over.
    images : mapping of str to Path
    budget : int
        Bytes of all data URIs together.
    """
    uris: dict[str, str] = {}
    spent = over_budget = unreadable = 0
    for image_id in dict.fromkeys(image_ids):
        if spent >= budget:
            over_budget += 1
            continue
        try:
            uri = _data_uri(ImageRef(image_id, images.get(image_id)))
        except ImageError:
            unreadable += 1
            continue
        if spent + len(uri) > budget:
            spent = budget
            over_budget += 1
            continue
        uris[image_id] = uri
        spent += len(uri)
    return Thumbnails(uris, over_budget, unreadable)


def _data_uri(image: ImageRef) -> str:
    picture = image.open()
    picture.thumbnail((SIDE, SIDE))
    if picture.mode != "RGB":  # transparency becomes white, as the models' own preprocessing has it
        from PIL import Image

        layer = picture.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(paper, layer).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
