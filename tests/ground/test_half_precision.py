"""Half precision: whole numbers order as the floats do, and every number becomes what it is."""

import numpy as np

from dafm_core.ground.half_precision import are_odd, count_above, widen

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def test_bits_are_counted_as_the_numbers_are():
    known = EVERY[~np.isnan(EVERY)]
    rng = np.random.default_rng(0)
    bars = np.concatenate([rng.choice(known, 60), np.float16([0.0, -0.0, -np.inf, np.inf])])
    rows = np.broadcast_to(known, (len(bars), len(known)))
    for found, wide in zip(
        count_above(rows, bars), count_above(rows.astype(np.float32), bars), strict=True
    ):
        np.testing.assert_array_equal(found, wide)


def test_what_no_score_may_be_is_found():
    np.testing.assert_array_equal(are_odd(EVERY[:, None]), np.isnan(EVERY) | np.isposinf(EVERY))


def test_every_number_is_widened_to_itself():
    out = np.empty((1, len(EVERY)), np.float32)
    widen(EVERY[None], out)
    np.testing.assert_array_equal(out, EVERY[None].astype(np.float32))
