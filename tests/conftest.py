"""What every test may ask for."""

import os

os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # ranx, an oracle: 2 s on small lists instead of 30

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(0)
