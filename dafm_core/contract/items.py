"""What a query is made of: images by reference, opened only when a provider asks, and a text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.contract.tiff import noting_complaints
from dafm_core.errors import DatasetError, ImageError

if TYPE_CHECKING:
    from PIL.Image import Image


FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What is read, whatever a file is called: for some other formats Pillow starts other programs."""


LARGEST_PIXELS = 2**27
"""Pixels that are decoded at most: 384 MiB of RGB. What declares more is refused before."""


@dataclass(frozen=True)
class ImageRef:
    """A gallery or reference image: its id, and where its file should be (None where no folder was
    given).
    """

    id: str
    path: Path | None = None

    def open(self) -> Image:
        """Return the decoded image in its stored mode, without EXIF rotation.

        Raises
        ------
        ImageError
            If there is no file, or it is not an image Pillow can read; the message names the id
            and the path.
        """
        from PIL import Image, UnidentifiedImageError

        if self.path is None:
            raise ImageError(
                f"image {self.id!r}: no file of it is known. Check the id, or give the dataset its "
                "images."
            )
        try:
            if self.path.exists() and not self.path.is_file():
                raise ImageError(
                    f"image {self.id!r}: {self.path} is no file. Replace or remove it."
                )
            with (
                noting_complaints() as complaints,
                Image.open(self.path, formats=FORMATS) as image,
            ):
                if math.prod(image.size) > LARGEST_PIXELS:
                    raise ImageError(
                        f"image {self.id!r}: {self.path} has {image.width} x {image.height} "
                        f"pixels, more than the {LARGEST_PIXELS:,} that are decoded."
                    )
                image.load()
                if complaints:
                    raise ValueError("damaged")
        except ImageError:
            raise
        except FileNotFoundError:
            raise ImageError(
                f"image {self.id!r}: {self.path} does not exist. Check the image folder."
            ) from None
        except UnidentifiedImageError:
            raise ImageError(
                f"image {self.id!r}: {self.path} is not an image. Replace or remove it."
            ) from None
        except Exception as error:  # of a damaged file Pillow raises whatever comes
            words = complaints or [str(error) or type(error).__name__]
            raise ImageError(
                f"image {self.id!r}: {self.path} cannot be decoded ({words[0].rstrip('.')})."
            ) from None
        return image


@dataclass(frozen=True, kw_only=True)
class Query:
    """One composed query: reference images, and a text that says what should change.

    Parameters
    ----------
    id : str
    references : tuple of ImageRef
        One in composed image retrieval; none where the text stands alone; several where a
        benchmark or a user gives several.
    text : str
    """

    id: str
    references: tuple[ImageRef, ...]
    text: str

    @property
    def reference(self) -> ImageRef:
        """The only reference, for a model that needs exactly one.

        Raises
        ------
        DatasetError
            If the query has none, or several.
        """
        if len(self.references) != 1:
            raise DatasetError(
                f"query {self.id!r}: expected exactly one reference image, got "
                f"{len(self.references)}. Use a model that takes any number of them, or leave the "
                "query out."
            )
        return self.references[0]
