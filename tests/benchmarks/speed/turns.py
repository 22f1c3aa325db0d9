"""Timing that can be compared: product and yardstick take turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any


def alternate(turns: dict[str, Callable[[], Any]], n_repeat: int) -> dict[str, float]:
    """Return median CPU seconds of each; they take turns, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for turn in range(n_repeat + 1):
        for name, function in turns.items():
            start = time.process_time()
            function()
            if turn:
                seconds[name].append(time.process_time() - start)
    return {name: median(values) for name, values in seconds.items()}
