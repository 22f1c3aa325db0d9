"""Images that come in, checked before anything is decoded, and images that go out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps

from dafm_core.contract.items import FORMATS, ImageRef
from dafm_core.errors import ImageError
from dafm_core.serve.limits import Limits, Refused

THUMBNAIL: Final = 320
"""Longest side in pixels of a thumbnail."""
LARGEST: Final = 2048
"""Longest side in pixels of what is shown as full size."""
_EXTENSIONS: Final = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tiff",
}


def save_upload(data: bytes, folder: Path, number: int, limits: Limits) -> ImageRef:
    """Write an uploaded image to a folder, bytes as they came, and return it.

    Nothing of it is rotated or decoded: each model reads the file as it would read one of a
    gallery, the orientation of its EXIF data included.

    Raises
    ------
    Refused
        For what is no image, has too many bytes or pixels, or moves.
    """
    if len(data) > limits.image_bytes:
        raise Refused(413, f"image: expected at most {limits.image_bytes} bytes, got {len(data)}.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels, kind = image.width * image.height, str(image.format)
            # A telephone's JPEG may hold a depth map or a preview beside the photograph (MPO).
            frames = 1 if kind == "MPO" else getattr(image, "n_frames", 1)
    except Image.DecompressionBombError:
        raise Refused(413, _too_many(limits)) from None
    except Exception:  # of a damaged file Pillow raises whatever comes
        raise Refused(415, f"image: expected one of {', '.join(FORMATS)}, got none.") from None
    if pixels > limits.image_pixels:
        raise Refused(413, _too_many(limits))
    if frames > 1:
        raise Refused(415, f"image: expected a still image, got {frames} frames.")
    path = folder / f"upload-{number}{_EXTENSIONS[kind]}"
    path.write_bytes(data)
    reference = ImageRef(path.name, path)
    try:
        reference.open()
    except ImageError:
        raise Refused(415, "image: cannot be decoded; the file is damaged or cut short.") from None
    return reference


def shown(image: ImageRef, side: int) -> bytes:
    """Return an image as JPEG for people to look at, upright, its longest side at most ``side``.

    Raises
    ------
    ImageError
        If its file is gone or broken.
    """
    picture = ImageOps.exif_transpose(image.open())
    picture.thumbnail((side, side))
    if picture.mode != "RGB":
        layer = picture.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(paper, layer).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def _too_many(limits: Limits) -> str:
    return f"image: expected at most {limits.image_pixels} pixels, got more. Send a smaller copy."
