"""Images decoded and preprocessed in order, in this process or in workers."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef
from dafm_core.wrapping.target_pad import as_rgb, refuse_deep

if TYPE_CHECKING:
    from PIL.Image import Image

Transform: TypeAlias = "Callable[[Image], NDArray[Any]]"


def open_rgb(image: ImageRef) -> Image:
    """Return a decoded image in RGB, for models that come with a preprocessing of their own.

    Raises
    ------
    ImageError
        If it cannot be opened, or has more than 8 bits a channel, which no conversion scales.
    """
    opened = image.open()
    refuse_deep(opened)
    return as_rgb(opened)


def _decode_one(image: ImageRef, transform: Transform) -> NDArray[Any]:
    return transform(image.open())


class ImageDecoder:
    """Opens images and applies a preprocessing function, in order, in this process or in workers.

    Parameters
    ----------
    transform : callable
        Pillow image -> array, the same shape for every image; picklable where ``workers > 0``. Keep
        it in a module that imports Pillow and NumPy only: workers start fresh and import it.
    workers : int, default=0
        Worker processes; 0 decodes in this process.
    """

    def __init__(self, transform: Transform, *, workers: int = 0) -> None:
        self.transform = transform
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, images: Sequence[ImageRef]) -> NDArray[Any]:
        """Return the stacked arrays, ``(len(images), ...)``; raises ImageError naming the first
        bad image.
        """
        decode = partial(_decode_one, transform=self.transform)
        if self.workers <= 0 or len(images) < 2:
            return np.stack([decode(image) for image in images])
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context)
        chunk = max(1, len(images) // (4 * self.workers))
        return np.stack(list(self._pool.map(decode, images, chunksize=chunk)))

    def close(self) -> None:
        """Stop the workers."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
