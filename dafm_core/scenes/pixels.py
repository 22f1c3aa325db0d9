"""What the built-in providers see: small pictures, what stands out from the ground, and how much a
pixel looks like a colour that has a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef

SIDE = 48
N_COLORS = 9
_CHUNK = 64

_PROTOTYPES = np.array(
    [
        (0.85, 0.15, 0.17), (0.95, 0.55, 0.10), (0.97, 0.83, 0.20), (0.20, 0.62, 0.30),
        (0.15, 0.40, 0.82), (0.50, 0.25, 0.70), (0.95, 0.50, 0.70), (0.97, 0.97, 0.95),
        (0.12, 0.12, 0.14),
        (0.50, 0.50, 0.50), (0.70, 0.70, 0.70), (0.75, 0.65, 0.52), (0.50, 0.42, 0.36),
        (0.60, 0.68, 0.56), (0.62, 0.66, 0.72), (0.38, 0.42, 0.42), (0.82, 0.80, 0.78),
    ],
    np.float32,
)  # fmt: skip
"""RGB of nine colours in the order of ``reading.COLORS``, then of eight dull ones for grounds."""


def load_pixels(images: Sequence[ImageRef]) -> NDArray[np.float32]:
    """Return RGB in [0, 1], shape (n, SIDE, SIDE, 3), of images of any size."""
    if not images:
        return np.empty((0, SIDE, SIDE, 3), np.float32)
    pixels = np.stack([_decode(image) for image in images]).astype(np.float32)
    pixels /= 255
    return pixels


@lru_cache(maxsize=4096)
def _decode(image: ImageRef) -> NDArray[np.uint8]:
    from PIL.Image import Resampling

    return np.asarray(image.open().convert("RGB").resize((SIDE, SIDE), Resampling.BOX))


def salience(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how clearly each pixel differs from its picture's median colour, in (0, 1)."""
    sample = pixels[:, ::2, ::2].reshape(len(pixels), (SIDE // 2) ** 2, 3)
    ground = np.median(sample, axis=1)[:, None, None]
    distance = np.linalg.norm(pixels - ground, axis=-1)
    clear: NDArray[np.float32] = 1 / (1 + np.exp((0.24 - distance) / 0.03))
    return clear


def color_grid(images: Sequence[ImageRef]) -> NDArray[np.float32]:
    """Return the share of each named colour in each ninth of the picture, (n, 3, 3, N_COLORS)."""
    parts = [
        _color_grid(load_pixels(images[start : start + _CHUNK]))
        for start in range(0, max(1, len(images)), _CHUNK)
    ]
    return np.concatenate(parts)


def name_colors(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much pixels (n, 3) look like each named colour, (n, N_COLORS), in [0, 1]."""
    nearness = 2 * pixels @ _PROTOTYPES.T - (_PROTOTYPES**2).sum(axis=1)
    weight = np.exp((nearness - nearness.max(axis=1, keepdims=True)) / 0.012)
    named: NDArray[np.float32] = weight[:, :N_COLORS] / weight.sum(axis=1, keepdims=True)
    return named


def _color_grid(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    pixels = pixels[:, ::2, ::2]  # a quarter of them is enough for shares
    weight = name_colors(pixels.reshape(-1, 3))
    third = SIDE // 6
    return np.asarray(weight.reshape(-1, 3, third, 3, third, N_COLORS).mean(axis=(2, 4)))
