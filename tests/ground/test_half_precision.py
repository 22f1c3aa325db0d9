"""Half precision: whole numbers order as the floats do, and every number becomes what it is."""

import numpy as np

from dafm_core.ground.half_precision import are_odd, comparable, widen

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def test_whole_numbers_compare_as_all_numbers_do():
    known = np.sort(EVERY[~np.isnan(EVERY)])
    numbers = comparable(known)
    np.testing.assert_array_equal(numbers[1:] > numbers[:-1], known[1:] > known[:-1])
    np.testing.assert_array_equal(numbers[1:] == numbers[:-1], known[1:] == known[:-1])


def test_what_no_score_may_be_is_found():
    rows = comparable(EVERY[:, None])
    np.testing.assert_array_equal(are_odd(rows), np.isnan(EVERY) | np.isposinf(EVERY))


def test_every_number_is_widened_to_itself():
    out = np.empty((1, len(EVERY)), np.float32)
    widen(EVERY[None], out)
    np.testing.assert_array_equal(out, EVERY[None].astype(np.float32))
