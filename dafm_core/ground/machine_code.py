"""Loops that Numba compiles where it is installed: the one way to compiled code of the project.

What is given is plain Python that any machine can run, slowly. Where Numba is missing there is no
machine code, and callers have a form in NumPy or torch that gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def machine_code(
    loop: Callable[..., Any],
    *parts: Callable[..., Any],
    exact: tuple[Callable[..., Any], ...] = (),
) -> Callable[..., Any] | None:
    """Return a function as machine code, or None where Numba is missing or turned off.

    It is compiled at the first call, and kept on disk where there is a place for it. What is kept
    is made anew when the loop's own file changes: who changes a part in another file alone, touches
    the loop's too.

    Parameters
    ----------
    loop : callable
        What Numba can compile; floats may be summed in any order, and none may be infinite or NaN.
    *parts : callable
        Functions of the same kind that it calls.
    exact : tuple of callable
        Functions that it calls, in which every operation is rounded as it is written.
    """
    try:
        import numba
        from numba.extending import register_jitable
    except ImportError:
        return None
    if numba.config.DISABLE_JIT:
        return None
    options: Any = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    # Parts become pieces of the loop's own code. As functions beside it, those of the process that
    # compiles them would be called there, and the copies that are kept with the loop in all later
    # ones: compiled each for itself, they sum in another order.
    for part in exact:  # said outright, for what is left out is taken from the caller
        register_jitable(fastmath=False, error_model="numpy", forceinline=True)(part)
    for part in parts:
        register_jitable(fastmath=True, error_model="numpy", forceinline=True)(part)
    try:
        made: Any = numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # nowhere to keep it: compiled anew in every process
        made = numba.njit(**options)(loop)
    code: Callable[..., Any] = made
    return code
