"""CoVR's image preprocessing. Pillow and NumPy only: decoding workers import this module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dafm_core.wrapping.target_pad import as_rgb, refuse_deep, rgb_bytes

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class StretchedSquare:
    """Pillow image -> uint8 array of shape (3, size, size): RGB first, aspect ratio not kept.

    EXIF orientation is not applied. 16-bit and floating-point images, which upstream would turn
    almost white, are refused.
    """

    size: int

    @property
    def fingerprint(self) -> str:
        """What decides the pixels, for a passport."""
        return f"RGB, then bicubic {self.size} x {self.size}, aspect ratio not kept"

    def __call__(self, image: Image) -> NDArray[np.uint8]:
        """Return the pixels of one image.

        Raises
        ------
        ImageError
            For 16-bit and floating-point images.
        """
        from PIL import Image as PillowImage

        refuse_deep(image)
        square = (self.size, self.size)
        return rgb_bytes(as_rgb(image).resize(square, PillowImage.Resampling.BICUBIC))
