"""Half precision: whole numbers order as the floats do, and every number becomes what it is."""

import sys

import numpy as np
import pytest

from dafm_core.ground import half_precision
from dafm_core.ground.half_precision import (
    are_odd,
    count_above,
    widen,
    widen_rows,
    widening_loop,
    write_wide,
)

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


@pytest.mark.parametrize("has_numba", [False, True])
def test_every_number_is_widened_to_itself(has_numba, monkeypatch):
    if has_numba:
        pytest.importorskip("numba")
    else:
        monkeypatch.delitem(sys.modules, "numba", raising=False)
    rows = np.stack([EVERY, EVERY[::-1]])
    expected = rows.astype(np.float32)
    for block in (rows, np.asfortranarray(rows), rows[:, ::3], rows[:, :100]):
        out = np.empty((*block.shape, 2), np.float32)
        widen(block, out[..., 0])
        np.testing.assert_array_equal(out[..., 0], block.astype(np.float32))
    out = np.empty(rows.shape, np.float32)
    widen(rows, out)
    np.testing.assert_array_equal(out.view(np.int32), expected.view(np.int32))


def test_rows_are_widened_where_they_lie_or_left_to_others(monkeypatch):
    rows, some = EVERY.reshape(64, -1), np.array([7, 0, 7])
    tile = np.zeros((3, 2, rows.shape[1]), np.float32)
    monkeypatch.setattr(half_precision, "_quick_loop", lambda: None)
    assert not widen_rows(rows, some, tile, 1)
    monkeypatch.setattr(half_precision, "_quick_loop", lambda: write_wide)
    assert not widen_rows(rows.astype(np.float32), some, tile, 1)
    assert not widen_rows(np.asfortranarray(rows), some, tile, 1)
    assert not tile.any()
    with np.errstate(over="ignore"):
        assert widen_rows(rows, some, tile, 1)
    np.testing.assert_array_equal(tile[:, 1], rows.astype(np.float32)[some])
    assert not tile[:, 0].any()


def test_the_loop_writes_every_number_bit_by_bit():
    """Plain Python and machine code; infinities and NaN as NumPy has them."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    expected = bits.view(np.float16).astype(np.float32).view(np.int32)
    for loop in (write_wide, widening_loop() or write_wide):
        tile = np.zeros((2, 3, len(bits) // 2), np.float32)
        with np.errstate(over="ignore"):
            loop(bits.view(np.int16).reshape(2, -1), np.array([1, 0]), tile.view(np.int32), tile, 1)
        np.testing.assert_array_equal(tile[:, 1].view(np.int32), expected.reshape(2, -1)[::-1])
        assert not tile[:, [0, 2]].any()
