"""The law that every provider keeps: the global random state is nobody's to use."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from dafm_core.testing.results import CheckFailed


def check_random_state(score: Callable[[], object]) -> None:
    """Raise CheckFailed if scoring draws from, or seeds, the random state of Python or NumPy."""
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(8191)  # states no provider would seed, so that seeding anew shows
    np.random.seed(8191)  # noqa: NPY002
    before = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    try:
        score()
        after = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
    if before != after:
        raise CheckFailed("scoring drew from, or seeded, the global random state")
