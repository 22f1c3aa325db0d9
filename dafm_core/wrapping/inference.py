"""Running a frozen network: its settings checked, images to normalised tensors, batches.

For plugins that wrap a released model. Several have exactly these needs, and each rule is one that
goes wrong silently (a repeated reference encoded again, a batch size of zero). Not here: any model,
the loop over batches (``encoding.py``), and how exactly a GPU computes (``precision.py``). torch is
imported inside the functions, as in ``checkpoints.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.contract.items import ImageRef
from dafm_core.errors import OptionError
from dafm_core.ground.printable import first_line
from dafm_core.wrapping.options import DTYPES
from dafm_core.wrapping.target_pad import MEAN, STD

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """How to compute: where, in what, and how much at a time."""

    device: torch.device
    dtype: torch.dtype
    batch_size: int
    workers: int

    @classmethod
    def checked(
        cls, where: str, *, device: str | None, dtype: str, batch_size: int, workers: int
    ) -> Settings:
        """Return the settings that four options name.

        Parameters
        ----------
        where : str
            Start of error messages: the provider.
        device : str or None
            None takes a GPU where there is one, else the CPU.
        dtype : str
            ``float32``, ``float16`` or ``bfloat16``.
        batch_size, workers : int
            At least 1 and 0.

        Raises
        ------
        OptionError
            If one of them cannot be used.
        """
        import torch

        if dtype not in DTYPES:
            raise OptionError(
                f"{where}: option 'dtype': expected one of {', '.join(DTYPES)}, got {dtype!r}."
            )
        for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0)):
            if value < least:
                raise OptionError(
                    f"{where}: option {name!r}: expected {least} or more, got {value}."
                )
        return cls(_device(device, where), getattr(torch, dtype), batch_size, workers)

    @property
    def dtype_name(self) -> str:
        """``float32``, ``float16`` or ``bfloat16``."""
        return str(self.dtype).removeprefix("torch.")

    def batches(self, n_items: int) -> Iterator[slice]:
        """Yield consecutive slices of at most ``batch_size`` of ``n_items``."""
        for start in range(0, n_items, self.batch_size):
            yield slice(start, min(start + self.batch_size, n_items))

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """Return an array on the device."""
        import torch

        return torch.from_numpy(array).to(self.device)

    def normalised(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return the input of CLIP and BLIP, (B, 3, S, S) float32, from the bytes of RGB images."""
        import torch

        mean, std = (torch.tensor(c, device=self.device).view(3, 1, 1) for c in (MEAN, STD))
        return self.tensor(pixels).float().div_(255).sub_(mean).div_(std)


def _device(name: str | None, where: str) -> torch.device:
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = first_line(error)
        raise OptionError(
            f"{where}: option 'device': {name!r} cannot be used ({reason}). Try cpu or cuda."
        ) from None
    return device


def check_heads(n_heads: int, width: int, *, option: str, where: str) -> None:
    """Raise OptionError unless attention heads divide a width; no shape tells their number."""
    if n_heads < 1 or width % n_heads:
        raise OptionError(
            f"{where}: option {option!r}: expected a divisor of the width {width}, got {n_heads}. "
            "Give the number the model was trained with."
        )


def rows_by_image(images: Sequence[ImageRef]) -> dict[ImageRef, list[int]]:
    """Return the distinct images in order of appearance, each with the rows it stands in."""
    rows: dict[ImageRef, list[int]] = {}
    for row, image in enumerate(images):
        rows.setdefault(image, []).append(row)
    return rows
