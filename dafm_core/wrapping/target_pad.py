"""The image preprocessing that CLIP4CIR introduced and BLIP4CIR and SPRC took over, to the pixel.

Pad the short side with zeros towards a target ratio, resize bicubically, crop the centre, and only
then convert to RGB. It stands in core because plugins of three published models share it, its
rounding rules are easy to get wrong, and decoding workers import this module instead of a
plugin's: Pillow and NumPy only. Scaling to [0, 1] and the normalisation per channel are left to the
model, so that a worker hands over bytes instead of floats.

EXIF orientation is never applied, as upstream. The padding follows CLIP4Cir, the channel constants
OpenAI CLIP (both MIT; see NOTICE).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import trunc
from typing import TYPE_CHECKING, Literal

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

MAX_WHOLE = 2**25
"""Largest resized picture of which the square is cut; of a longer strip only it is computed."""

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
    deep : {"refuse", "saturate"}, default="refuse"
        What becomes of 16-bit and floating-point images: an error, or what upstream makes of them,
        values above 255 being white.

    Examples
    --------
    >>> from PIL import Image
    >>> TargetPad(8)(Image.new("RGB", (1, 50), "white")).shape
    (3, 8, 8)
    """

    size: int
    ratio: float = 1.25
    deep: Literal["refuse", "saturate"] = "refuse"

    @property
    def fingerprint(self) -> str:
        """What decides the pixels, for a passport."""
        return f"target-pad {self.ratio}, bicubic {self.size}, centre crop, stored mode, then RGB"

    def __call__(self, image: Image) -> NDArray[np.uint8]:
        """Return the pixels of one image.

        Raises
        ------
        ImageError
            For 16-bit and floating-point images where they are refused, and for strips so long
            that padding them would fill the memory.
        """
        if self.deep == "refuse":
            refuse_deep(image)
        return rgb_bytes(resize_and_crop(self._pad(image), self.size))

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
        if image.mode in ("P", "PA"):  # a new one has no colours yet
            padded.putpalette(image.getpalette() or [])
        padded.paste(image, (left, top))
        return padded


def refuse_deep(image: Image) -> None:
    """Raise ImageError for 16-bit and floating-point images, which RGB would turn almost white."""
    if image.mode.startswith(_DEEP_MODES):
        raise ImageError(
            f"{_name(image)}: expected 8 bits a channel, got mode {image.mode!r}. "
            "Save it as an 8-bit image."
        )


def resize_and_crop(image: Image, size: int, *, floored: bool = False) -> Image:
    """Resize bicubically so that the short side is ``size``, and cut the square from the centre.

    The long side is truncated, the offset is rounded half to even or ``floored``. Of a strip whose
    resized form would exceed ``MAX_WHOLE`` only the square is computed: the same pixels where the
    long side needed no truncation, else the same but for one grey level here and there.
    """
    from PIL import Image as PillowImage

    short, long = sorted(image.size)
    resized = trunc(size * long / short)
    offset = (resized - size) // 2 if floored else round((resized - size) / 2)  # half to even
    upright = image.width <= image.height
    bicubic = PillowImage.Resampling.BICUBIC
    if resized * size > MAX_WHOLE:
        first, last = offset * long / resized, (offset + size) * long / resized
        if upright:  # columns before rows, as Pillow resizes the whole
            image = image.resize((size, long), bicubic)
            return image.resize((size, size), bicubic, box=(0, first, size, last))
        image = image.resize((size, short), bicubic, box=(first, 0, last, short))
        return image.resize((size, size), bicubic)
    image = image.resize((size, resized) if upright else (resized, size), bicubic)
    left, top = (0, offset) if upright else (offset, 0)
    return image.crop((left, top, left + size, top + size))


def as_rgb(image: Image) -> Image:
    """Return the image in RGB: alpha dropped, palettes looked up whatever is transparent."""
    if "transparency" in image.info:  # of no effect, but Pillow warns of some forms of it
        image = image.copy()
        del image.info["transparency"]
    return image.convert("RGB")


def rgb_bytes(image: Image) -> NDArray[np.uint8]:
    """Return an image in RGB as an array of shape (3, height, width)."""
    return np.ascontiguousarray(np.asarray(as_rgb(image)).transpose(2, 0, 1))


def _name(image: Image) -> str:
    return f"image {str(getattr(image, 'filename', '')) or 'in memory'}"
