"""How long work tells how far it is: one call with a stage, what is done, and the total."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Is told a stage (``gallery``, ``queries``, a fuser's name), how much of it is done, and how much
there is: of images, queries or parts."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""
