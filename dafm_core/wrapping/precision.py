"""Computing in full float32, without gradients: reduced precision off, the caller's flags restored.

torch may multiply float32 matrices with ten bits of mantissa (TF32) or seven (bfloat16) where a
program allowed it for training. Published similarities were not made so: it moves them by 1e-3,
and ties and ranks with them. The flags belong to the process, torch has two generations of them,
and turning only the one for convolutions off is easily mistaken for turning all off. torch is
imported inside the functions, as in ``checkpoints.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any


@contextmanager
def exact() -> Iterator[None]:
    """Compute without gradients and without TF32 or bfloat16 inside float32 operations.

    Holds for matrix products and convolutions, on GPUs and CPUs. On leaving, by whatever way, the
    flags are what they were. Blocks may be nested, and may overlap in several threads: then the
    last one that ends restores what the first one found.
    """
    import torch

    with _flags, torch.inference_mode():
        yield


class _Flags:
    """The flags of the process: the first that enters saves them, the last that leaves restores."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._n_inside = 0
        self._restore: Callable[[], None] = lambda: None

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._restore = _restorer()
            self._n_inside += 1
            _turn_off()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._restore()


_flags = _Flags()  # one, since torch's flags belong to the process too


def _operations() -> list[Any]:
    """Return what has a flag of the newer generation (torch 2.9): one per kind of operation."""
    import torch

    backends = torch.backends
    owners = (backends.cuda, backends.cudnn, backends.mkldnn)
    operations = [getattr(o, name, None) for o in owners for name in ("matmul", "conv", "rnn")]
    return [o for o in operations if _read(partial(getattr, o, "fp32_precision")) is not None]


def _turn_off() -> None:
    import torch

    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for operation in _operations():
        if operation.fp32_precision not in ("none", "ieee"):  # inherits from a flag above it
            operation.fp32_precision = "ieee"


def _restorer() -> Callable[[], None]:
    """Return a function that gives every flag the value it has now."""
    import torch

    precision = _read(torch.get_float32_matmul_precision)
    tf32 = _read(lambda: torch.backends.cudnn.allow_tf32)
    operations = [(operation, operation.fp32_precision) for operation in _operations()]

    def restore() -> None:
        if precision is not None:
            torch.set_float32_matmul_precision(precision)
        if tf32 is not None:
            torch.backends.cudnn.allow_tf32 = tf32
        for operation, value in operations:
            if operation.fp32_precision != value:
                operation.fp32_precision = "none"  # enough where the value was inherited
            if operation.fp32_precision != value:
                operation.fp32_precision = value

    return restore


def _read(flag: Callable[[], Any]) -> Any:
    """Return a flag; None where torch has none, or refuses as the newer generation decides."""
    try:
        return flag()
    except (AttributeError, RuntimeError):
        return None
