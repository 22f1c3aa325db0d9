"""The factory of ``clip``: two towers that know nothing of each other's query.

A query's text and its reference are two rows; which of them counts, or how both are added, is an
option. Which library reads the model is another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from dafm_core.contract.items import ImageRef, Query
from dafm_core.contract.provider import Features
from dafm_core.errors import OptionError, ProviderError, closest
from dafm_core.wrapping.composing import Compose, ComposedEncoder
from dafm_core.wrapping.decoding import ImageDecoder
from dafm_core.wrapping.encoding import DECODED_AT_ONCE, to_numpy
from dafm_core.wrapping.inference import Settings
from dafm_core.wrapping.precision import exact
from dafm_plugin_clip.prompts import check_template, filled

WHERE = "clip"
LIBRARIES = ("transformers", "open_clip")
_PARTS: dict[str, Compose] = {"text": "text", "image": "image", "rows": "sum", "sum": "sum"}
COMPOSITIONS = tuple(_PARTS)
"""``text`` and ``image`` alone; ``rows`` adds both rows, that is unit vectors; ``sum`` adds raw
features, as BGE-VL does. Both sums are scaled to length 1.
"""


class Towers(Protocol):
    """What a library gives: two networks, and how their input is made."""

    n_dims: int
    transform: Any
    """Pillow image -> float32 array."""

    def text_features(self, texts: Sequence[str]) -> Any:
        """Return raw features (B, D) of texts; raise ProviderError for one that is too long."""
        ...

    def image_features(self, pixels: Any) -> Any:
        """Return raw features (B, D) of transformed images."""
        ...


class TowerEmbedder:
    """Texts and images to raw vectors, as ``ComposedEncoder`` takes them."""

    def __init__(self, towers: Towers, settings: Settings, template: str) -> None:
        self.towers, self.settings, self.template = towers, settings, template
        self.decode = ImageDecoder(towers.transform, workers=settings.workers)

    def texts(self, texts: Sequence[str]) -> Features:
        """Return the raw feature of each text in the template, (n, D)."""
        filled_in = [filled(self.template, text) for text in texts]
        features = np.empty((len(texts), self.towers.n_dims), np.float32)
        with exact():
            for batch in self.settings.batches(len(texts)):
                features[batch] = to_numpy(self.towers.text_features(filled_in[batch]))
        return features

    def images(self, images: Sequence[ImageRef]) -> Features:
        """Return the raw feature of each image, (n, D)."""
        features = np.empty((len(images), self.towers.n_dims), np.float32)
        with exact():
            for part in _parts(len(images)):
                decoded = self.decode(images[part])
                for batch in self.settings.batches(len(decoded)):
                    rows = slice(part.start + batch.start, part.start + batch.stop)
                    pixels = self.settings.tensor(decoded[batch])
                    features[rows] = to_numpy(self.towers.image_features(pixels))
        return features

    def joint(self, queries: Sequence[Query]) -> Features:
        """Refuse: two towers read no joint input."""
        raise ProviderError(f"{WHERE}: a model of two towers reads no joint input.")


def _parts(n_items: int) -> Iterator[slice]:
    for start in range(0, n_items, DECODED_AT_ONCE):
        yield slice(start, min(start + DECODED_AT_ONCE, n_items))


def load(
    *,
    model: str,
    library: str = "transformers",
    compose: str = "sum",
    weight: float = 1.0,
    template: str = "{caption}",
    revision: str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 32,
    workers: int = 0,
) -> ComposedEncoder:
    """Return the provider.

    Parameters
    ----------
    model : str
        Folder or name on the hub; for open_clip also ``ARCH:TAG`` and ``ARCH:FILE``.
    library : {"transformers", "open_clip"}
    compose : {"text", "image", "rows", "sum"}
        See :data:`COMPOSITIONS`.
    weight : float, default=1.0
        Of the reference beside the text.
    template : str
        What is read for a text; holds one ``{caption}``.
    revision : str, optional
        Commit, tag or branch on the hub.
    device, dtype, batch_size, workers
        As :meth:`~dafm_core.wrapping.inference.Settings.checked` takes them.

    Raises
    ------
    OptionError
        If an option makes no sense, or its library is not installed.
    ProviderError
        If the model cannot be had, is damaged, or is no pair of towers.
    """
    settings = Settings.checked(
        WHERE, device=device, dtype=dtype, batch_size=batch_size, workers=workers
    )
    for name, value, known in (("library", library, LIBRARIES), ("compose", compose, COMPOSITIONS)):
        if value not in known:
            raise OptionError(f"{WHERE}: {name} {value!r}{closest(value, known)}")
    check_template(template, WHERE)
    towers: Towers
    if library == "open_clip":
        from dafm_plugin_clip import open_clip_towers

        towers, passport = open_clip_towers.load(model, revision, settings, WHERE)
    else:
        from dafm_plugin_clip import transformers_towers

        towers, passport = transformers_towers.load(model, revision, settings, WHERE)
    fingerprint = {
        "model": WHERE,
        "library": library,
        **passport,
        "text_template": template,
        "dtype": settings.dtype_name,
    }
    return ComposedEncoder(
        TowerEmbedder(towers, settings, template),
        compose=_PARTS[compose],
        weight=weight,
        fingerprint=fingerprint,
        where=WHERE,
        raw_parts=compose == "sum",
    )
