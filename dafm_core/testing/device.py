"""Where tests compute: the environment variable ``DAFM_DEVICE`` says, else it is the CPU.

Beside it what a test needs to compare tensors of any device with recorded arrays.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

DEVICE = os.environ.get("DAFM_DEVICE", "cpu")
"""As torch names it: ``cpu``, ``cuda``, ``cuda:1``."""


def there(array: NDArray[Any]) -> Tensor:
    """Return an array as a tensor on the device of the tests."""
    import torch

    return torch.from_numpy(array).to(DEVICE)


def here(values: Tensor | NDArray[Any]) -> NDArray[Any]:
    """Return an array, or a tensor of any device, as an array."""
    return np.asarray(values if isinstance(values, np.ndarray) else values.detach().cpu())
