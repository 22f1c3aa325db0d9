"""Rows by machine code: the same bits as NumPy's, and the ranks that sorting gives."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from dafm_core.ground import half_loops, quick_rows, rank_loops, zscore_loops
from dafm_core.ground.half_precision import are_odd, count_above
from dafm_core.ground.normalize import mean_of_zscores, rank_rows, unit_rank_rows, zscore_rows

SCALINGS = [zscore_rows, rank_rows, unit_rank_rows, mean_of_zscores]
CELLS = st.one_of(
    st.floats(width=32, allow_nan=True).filter(lambda x: x != np.inf),
    st.floats(width=16, allow_nan=False, allow_infinity=False),
    st.sampled_from([-np.inf, np.nan, 0.0, -0.0, 1e-45, -1e-45, 2.0**-24, 2.0**-25, 3e38, -3e38]),
)
TILES = arrays(np.float32, st.tuples(*[st.integers(1, 3)] * 2, st.integers(1, 9)), elements=CELLS)


@pytest.fixture(scope="module")
def loops():
    """Machine code; the other tests do without, for what ranx needs of Numba."""
    numba = pytest.importorskip("numba", reason="Numba is the extra dafm-core[compiled]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", 0)
        (made,) = quick_rows._made.__wrapped__()
        yield made


@pytest.fixture
def by_machine_code(loops, monkeypatch):
    def run(scale, tile):
        with monkeypatch.context() as patch:
            patch.setattr(quick_rows, "_in_use", [loops])
            return scale(tile)

    return run


def by_numpy(scale, tile):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quick_rows, "_in_use", [])
        return scale(tile)


def same_bits(one, other):
    np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
    known = ~np.isnan(one)
    np.testing.assert_array_equal(one[known].view(np.int32), other[known].view(np.int32))


def naive_ranks(row):
    """Return ranks by their definition: one more than the better, and half of the others level."""
    ranks = np.full(len(row), np.inf)
    ranks[np.isnan(row)] = np.nan
    known = np.isfinite(row)
    ranks[known] = rankdata(-row[known].astype(np.float64))
    return ranks


@given(tile=TILES)
@settings(max_examples=300)
def test_any_rows_come_out_the_same_bits(loops, tile):
    with pytest.MonkeyPatch.context() as patch:
        for scale in SCALINGS:
            patch.setattr(quick_rows, "_in_use", [loops])
            found = scale(tile)
            patch.setattr(quick_rows, "_in_use", [])
            same_bits(found, scale(tile))


@given(tile=TILES)
def test_ranks_are_those_of_their_definition(loops, tile):
    with pytest.MonkeyPatch.context() as patch:
        for in_use in ([loops], []):
            patch.setattr(quick_rows, "_in_use", in_use)
            for row, ranks in zip(
                tile.reshape(-1, tile.shape[2]),
                rank_rows(tile).reshape(-1, tile.shape[2]),
                strict=True,
            ):
                np.testing.assert_array_equal(ranks, naive_ranks(row))


LONG = {
    "half precision": lambda x: x.astype(np.float16),
    "a narrow range": lambda x: (30 + 0.1 * x).astype(np.float16),
    "subnormal halves": lambda x: (1e-6 * x).astype(np.float16),
    "more exact than half": lambda x: x,
    "steps below half precision": lambda x: np.rint(100 * x) * np.float32(2.0**-100),
    "far from 0": lambda x: 1000 + 1e-3 * x,
    "beyond half precision": lambda x: np.rint(x) * np.float32(2.0**20),
    "nearly all level": lambda x: np.where(x > 3, x, 0.5),
    "all level": lambda x: 0.25 + 0 * x,
    "farther apart than float32": lambda x: np.sign(x) * np.float32(3e38),
}


@pytest.mark.parametrize("kind", LONG)
def test_long_rows_come_out_the_same_bits(by_machine_code, rng, kind):
    tile = LONG[kind](rng.standard_normal((2, 2, 5000)).astype(np.float32)).astype(np.float32)
    tile[0, :, [3, 70, 71]], tile[0, 1, 4096], tile[1, 1, [8, 9]] = -np.inf, np.nan, [0.0, -0.0]
    for scale in SCALINGS:
        same_bits(by_machine_code(scale, tile), by_numpy(scale, tile))
    for ranks in (by_machine_code(rank_rows, tile), by_numpy(rank_rows, tile)):
        np.testing.assert_array_equal(ranks[0, 1], naive_ranks(tile[0, 1]))
        np.testing.assert_array_equal(ranks[1, 1], naive_ranks(tile[1, 1]))


def test_every_half_precision_number_is_counted(by_machine_code):
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    known = np.repeat(every[~np.isnan(every)], 2)
    bars = np.float16([0.0, -0.0, -np.inf, np.inf, 1.5, -1.5, 6e-8, -6e-8, 65504])
    rows = np.broadcast_to(known, (len(bars), len(known)))
    expected = (rows > bars[:, None]).sum(axis=1), (rows == bars[:, None]).sum(axis=1)
    for kind in (np.float16, np.float32):
        own = bars.astype(kind)
        found = by_machine_code(lambda some, own=own: count_above(some, own), rows.astype(kind))
        np.testing.assert_array_equal(found, expected)
    odd = by_machine_code(are_odd, every[:, None])
    np.testing.assert_array_equal(odd, np.isnan(every) | np.isposinf(every))


def test_the_loops_are_plain_python_too(rng):
    tile = rng.standard_normal((2, 2, 70)).astype(np.float16).astype(np.float32)
    tile[1, 0, 5], tile[1, 1] = -np.inf, 0.3 + 1e-4 * np.arange(70)
    plain = quick_rows.QuickRows(
        zscore_loops.standardise_rows,
        rank_loops.rank_rows_of_bits,
        half_loops.count_in_rows,
        half_loops.find_odd_rows,
    )
    found = plain.mean_of_zscores(tile)
    np.testing.assert_allclose(found, by_numpy(mean_of_zscores, tile), rtol=1e-6)
    ranks = plain.rank_rows(tile.reshape(4, 70), as_shares=False)
    np.testing.assert_array_equal(ranks, by_numpy(rank_rows, tile).reshape(4, 70))
    rows = np.float16([[-np.inf, -2, -1, -0.0, 0, 1, 2], [np.nan, np.inf, -1, 0, 0, 1, 2]])
    for some in (rows[:1], rows[:1].astype(np.float32)):
        assert [int(n[0]) for n in plain.count_above(some, some[:, 3])] == [2, 2]
    assert plain.are_odd(rows).tolist() == [False, True]


def test_machine_code_is_loaded_for_much_work_only(monkeypatch):
    monkeypatch.setattr(quick_rows, "_in_use", [])
    monkeypatch.setattr(quick_rows, "_made", lambda: ("loops",))
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    quick_rows.load_for(quick_rows.WORTH_LOADING - 1)
    assert quick_rows.quick_rows() is None
    monkeypatch.setitem(sys.modules, "numba", object())
    quick_rows.load_for(quick_rows.MANY)
    assert quick_rows.quick_rows() == "loops"


def test_without_numba_numpy_does_it(monkeypatch):
    monkeypatch.setattr(quick_rows, "_in_use", [])
    monkeypatch.setattr(quick_rows, "machine_code", lambda *_, **__: None)
    monkeypatch.setattr(quick_rows, "_made", quick_rows._made.__wrapped__)
    quick_rows.load_for(1 << 40)
    assert quick_rows.quick_rows() is None
