"""The image preprocessing that CLIP4CIR introduced and BLIP4CIR and SPRC took over, to the pixel.

Pad the short side with zeros towards a target ratio, resize bicubically, crop the centre, and only
then convert to RGB. It stands in core because plugins of three published models share it, its
rounding rules are easy to get wrong, and decoding workers import this module instead of a
plugin's: Pillow and NumPy only. Scaling to [0, 1] and the normalisation per channel are left to the
model, so that a worker hands over bytes instead of floats.

EXIF orientation is never applied, as upstream.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import trunc
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of each channel, of pixels in [0, 1], that these models (and CLIP) subtract."""

STD = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviation of each channel that they divide by."""

MAX_PIXELS = 2**28
"""Largest padded picture (1 GiB in four bands); a strip of one pixel by 18,000 is still below."""

_DEEP_MODES = ("I", "F")  # and I;16 in its byte orders


@dataclass(frozen=True)
class TargetPad:
    """Pillow image -> uint8 array of shape (3, size, size), in RGB.

    Parameters
    ----------
    size : int
        Side of the square that the model sees, in pixels.
    ratio : float, default=1.25
        Long to short side from which the short side is padded.

    Examples
    --------
    >>> from PIL import Image
    >>> TargetPad(8)(Image.new("RGB", (1, 50), "white")).shape
    (3, 8, 8)
    """

    size: int
    ratio: float = 1.25

    @property
    def fingerprint(self) -> str:
        """What decides the pixels, for a passport."""
        return f"target-pad {self.ratio}, bicubic {self.size}, centre crop, stored mode, then RGB"

    def __call__(self, image: Image) -> NDArray[np.uint8]:
        """Return the pixels of one image.

        Raises
        ------
        ImageError
            For 16-bit and floating-point images (upstream saturates them to almost white), and for
            strips so long that padding them would fill the memory.
        """
        if image.mode.startswith(_DEEP_MODES):
            raise ImageError(
                f"{_name(image)}: expected 8 bits a channel, got mode {image.mode!r}. "
                "Save it as an 8-bit image."
            )
        square = _crop_centre(_resize_short_side(self._pad(image), self.size), self.size)
        pixels = np.asarray(square.convert("RGB"))  # (size, size, 3)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _pad(self, image: Image) -> Image:
        from PIL import Image as PillowImage

        width, height = image.size
        if max(width, height) / min(width, height) < self.ratio:
            return image
        target = max(width, height) / self.ratio
        left, top = (max(trunc((target - side) / 2), 0) for side in image.size)
        size = (width + 2 * left, height + 2 * top)
        if size[0] * size[1] > MAX_PIXELS:
            raise ImageError(
                f"{_name(image)}: expected a picture, got {width} x {height} pixels, a strip too "
                "long to pad. Crop it."
            )
        padded = PillowImage.new(image.mode, size, 0)  # 0 is palette entry 0, or no ink
        if image.mode in (
            "P",
            "PA",
        ):  # a new one has no colours yet
            padded.putpalette(image.getpalette() or [])
        padded.paste(image, (left, top))
        return padded


def _resize_short_side(image: Image, size: int) -> Image:
    from PIL import Image as PillowImage

    width, height = image.size
    long = trunc(size * max(width, height) / min(width, height))
    return image.resize(
        (size, long) if width <= height else (long, size), PillowImage.Resampling.BICUBIC
    )


def _crop_centre(image: Image, size: int) -> Image:
    left, top = (round((side - size) / 2) for side in image.size)  # half to even
    return image.crop((left, top, left + size, top + size))


def _name(image: Image) -> str:
    return f"image {str(getattr(image, 'filename', '')) or 'in memory'}"
