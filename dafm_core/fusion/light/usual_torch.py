"""Torch as it is where nobody has changed it: what a program sets for all its models, a dtype or
autocast, must not change what a fusion learns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def usual_torch() -> Iterator[None]:
    """Compute in here in float32, on the processor, with gradients, in what precision is written.

    What a program sets meanwhile in another thread is its own affair.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    # Naming a device slows every call into torch, so it is named only where another one is usual.
    elsewhere = torch.get_default_device().type != "cpu"
    try:
        with (
            torch.device("cpu") if elsewhere else nullcontext(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
        ):
            yield
    finally:
        torch.set_default_dtype(before)
