"""Small pictures as arrays, and what stands out from their ground."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dafm_core.images import ImageRef

SIDE = 48


def load_pixels(images: Sequence[ImageRef]) -> NDArray[np.float32]:
    """Return RGB in [0, 1], shape (n, SIDE, SIDE, 3), of images of any size."""
    if not images:
        return np.empty((0, SIDE, SIDE, 3), np.float32)
    return np.stack([_decode(image) for image in images]).astype(np.float32) / 255.0


@lru_cache(maxsize=4096)
def _decode(image: ImageRef) -> NDArray[np.uint8]:
    from PIL.Image import Resampling

    return np.asarray(image.open().convert("RGB").resize((SIDE, SIDE), Resampling.BOX))


def salience(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how clearly each pixel differs from the picture's median colour, in [0, 1)."""
    ground = np.median(pixels[:, ::2, ::2].reshape(len(pixels), -1, 3), axis=1)
    distance = np.linalg.norm(pixels - ground[:, None, None, :], axis=-1)
    return 1 / (1 + np.exp((0.24 - distance) / 0.03))
