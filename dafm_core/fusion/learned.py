"""What a fit has learned, looked at before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafm_core.errors import FuserError


def check_learned(name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise FuserError where what was learned is no number: what it would fuse is none."""
    for what, array in arrays.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise FuserError(
                f"{name}.fit: training diverged, {what} holds NaN. Lower learning_rate."
            )
