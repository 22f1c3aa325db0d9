"""One thread for what must give the same bits on every machine.

A sum over many numbers depends on how it is cut, and BLAS cuts a product by the number of its
threads. A fit runs on one; who has more processors runs several fits at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let NumPy's matrix products use one thread in here."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread in here, if it is loaded."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    try:
        if torch:
            torch.set_num_threads(1)
        yield
    finally:
        if torch:
            torch.set_num_threads(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let everything use one thread in here: matrix products, OpenMP, torch if it is loaded."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), one_torch_thread():
        yield
