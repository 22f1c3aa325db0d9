"""Resize the short side, cut the square from the centre: the preprocessing of CLIP, to the pixel.

Published models disagree in what a test on RGB photographs cannot show: whether an image becomes
RGB before or after it is resized (palettes, alpha), and how the offset of the square is rounded.
EXIF orientation is never applied. Pillow and NumPy only: decoding workers import this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from dafm_core.wrapping.target_pad import as_rgb, resize_and_crop, rgb_bytes

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class CentreSquare:
    """Pillow image -> uint8 array of shape (3, size, size), in RGB.

    16-bit images are saturated by the conversion, as in the originals: above 255 is white.

    Parameters
    ----------
    size : int
        Side of the square, in pixels.
    rgb : {"first", "last"}, default="first"
        Whether an image is converted before it is resized, or after the crop.
    offset : {"rounded", "floored"}, default="rounded"
        How half a pixel in the offset of the square is decided: half to even, or down.
    """

    size: int
    rgb: Literal["first", "last"] = "first"
    offset: Literal["rounded", "floored"] = "rounded"

    @property
    def fingerprint(self) -> str:
        """What decides the pixels, for a passport."""
        steps = f"bicubic {self.size}, centre crop"
        steps += ", floored offset" if self.offset == "floored" else ""
        return f"RGB, then {steps}" if self.rgb == "first" else f"{steps}, stored mode, then RGB"

    def __call__(self, image: Image) -> NDArray[np.uint8]:
        """Return the pixels of one image."""
        image = as_rgb(image) if self.rgb == "first" else image
        return rgb_bytes(resize_and_crop(image, self.size, floored=self.offset == "floored"))
