"""Running a CLIP model: settings from options, pixels from bytes, batches, exact arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dafm_core.contract.items import ImageRef
from dafm_core.contract.provider import Features, Similarity
from dafm_core.errors import OptionError, closest
from dafm_core.wrapping.target_pad import MEAN, STD

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""What a model may compute in."""


@dataclass(frozen=True)
class Settings:
    """Where a model computes, in what, and how many items at once."""

    device: torch.device
    dtype: torch.dtype
    batch_size: int

    @classmethod
    def check(
        cls, device: str | None, dtype: str, batch_size: int, workers: int, where: str
    ) -> Settings:
        """Return settings from options; raise OptionError for one that cannot be used."""
        if dtype not in DTYPES:
            raise OptionError(f"{where}: dtype {dtype!r}{closest(dtype, DTYPES)}")
        if batch_size < 1:
            raise OptionError(f"{where}: expected batch_size of at least 1, got {batch_size}.")
        if workers < 0:
            raise OptionError(f"{where}: expected workers of at least 0, got {workers}.")
        return cls(_device(device, where), DTYPES[dtype], batch_size)

    def batches(self, n_items: int) -> Iterator[slice]:
        """Yield consecutive slices of at most ``batch_size`` of ``n_items``."""
        for start in range(0, n_items, self.batch_size):
            yield slice(start, min(start + self.batch_size, n_items))

    def pixels(self, images: NDArray[np.uint8]) -> Tensor:
        """Return CLIP's input (B, 3, R, R) from the bytes of RGB images."""
        pixels = torch.from_numpy(images).to(self.device).float() / 255
        mean, std = (pixels.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        return ((pixels - mean) / std).to(self.dtype)


def _device(name: str | None, where: str) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(
            f"{where}: device {name!r} cannot be used ({reason}). Try cpu or cuda."
        ) from None
    return device


@contextmanager
def exact() -> Iterator[None]:
    """Compute without gradients and, on a GPU, without TF32."""
    cudnn = torch.backends.cudnn
    flags = cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    )
    with torch.inference_mode(), flags:
        yield


def distinct(images: Sequence[ImageRef]) -> tuple[list[ImageRef], NDArray[np.int64]]:
    """Return the distinct images in order of appearance, and where each image is among them."""
    places = {image: place for place, image in enumerate(dict.fromkeys(images))}
    return list(places), np.array([places[image] for image in images], np.int64)


def to_numpy(features: Tensor) -> Features:
    """Return a tensor as the float32 array that core takes."""
    return np.asarray(features.float().cpu().numpy(), np.float32)


def cosine(queries: Features, gallery: Features) -> Similarity:
    """Return the inner products of unit vectors, shape (n_queries, n_gallery)."""
    return np.asarray(queries @ gallery.T, np.float32)
