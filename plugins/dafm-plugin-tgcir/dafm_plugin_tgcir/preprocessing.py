"""TG-CIR's image preprocessing. Pillow and NumPy only: decoding workers import this module.

Unlike that of CLIP4CIR it converts to RGB first and pads nothing. EXIF orientation is not applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dafm_core.wrapping.target_pad import as_rgb, resize_and_crop, rgb_bytes

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class CentreSquare:
    """Pillow image -> uint8 array of shape (3, size, size), in RGB.

    16-bit images are saturated by the conversion, as in the original: above 255 is white.
    """

    size: int

    @property
    def fingerprint(self) -> str:
        """What decides the pixels, for a passport."""
        return f"RGB, then bicubic {self.size}, centre crop"

    def __call__(self, image: Image) -> NDArray[np.uint8]:
        """Return the pixels of one image."""
        return rgb_bytes(resize_and_crop(as_rgb(image), self.size))
