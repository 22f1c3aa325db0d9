"""Row scalings: what they promise, and what constant, single and excluded cells become."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from dafm_core.ground import normalize
from dafm_core.ground.normalize import (
    NORMALIZATIONS,
    ColumnStatistics,
    column_moments,
    minmax_rows,
    rank_rows,
    unit_rank_rows,
    zscore_rows,
)

ROWS = arrays(np.float32, (2, 3, 7), elements=st.integers(-20, 20).map(float))
SCALINGS = [zscore_rows, minmax_rows, unit_rank_rows]


@given(ROWS)
def test_zscores_have_mean_zero_and_deviation_one(scores):
    scaled = zscore_rows(scores)
    varied = np.ptp(scores, axis=-1) > 0
    np.testing.assert_allclose(scaled.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(-1)[varied], 1, rtol=1e-4)


@given(ROWS)
def test_ranks_are_scipy_ranks(scores):
    np.testing.assert_array_equal(rank_rows(scores), rankdata(-scores, axis=-1))


@pytest.mark.parametrize("scale", SCALINGS)
@given(scores=ROWS, shift=st.integers(-50, 50), factor=st.sampled_from([0.25, 2.0, 8.0]))
def test_shifting_and_stretching_a_row_changes_nothing(scale, scores, shift, factor):
    np.testing.assert_allclose(scale(scores * factor + shift), scale(scores), atol=1e-5)


@pytest.mark.parametrize("scale", SCALINGS)
def test_excluded_cells_stay_excluded_and_count_for_nothing(scale, rng):
    scores = rng.standard_normal((4, 6)).astype(np.float32)
    with_hole = np.insert(scores, 2, -np.inf, axis=1)
    scaled = scale(with_hole)
    assert np.isneginf(scaled[:, 2]).all()
    np.testing.assert_allclose(np.delete(scaled, 2, axis=1), scale(scores), atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.0])
def test_ranks_of_half_precision_are_counted_right(rng, scale):
    rows = (0.3 * (scale > 0.5) + scale * rng.normal(size=(3, 5000))).astype(np.float16)
    scores = rows.astype(np.float32)
    scores[0, [5, 77]], scores[1, [3, 4]] = -np.inf, [0.0, -0.0]
    for row, ranks in zip(scores, rank_rows(scores), strict=True):
        known = np.isfinite(row)
        np.testing.assert_array_equal(ranks[known], rankdata(-row[known]))
        assert np.isinf(ranks[~known]).all()


@pytest.mark.parametrize(("name", "value"), [("zscore", 0.0), ("minmax", 0.0), ("rank", 0.5)])
@pytest.mark.parametrize("row", [[0.3] * 5, [7.1], [-1e30] * 3])
def test_a_row_without_evidence_is_flat(name, value, row):
    scaled = NORMALIZATIONS[name](np.array([row], dtype=np.float32))
    np.testing.assert_array_equal(scaled, np.full((1, len(row)), value, np.float32))


@pytest.mark.parametrize("scale", SCALINGS)
def test_a_row_of_excluded_cells_makes_no_nan(scale):
    assert np.isneginf(scale(np.full((2, 3), -np.inf, np.float32))).all()


@pytest.mark.parametrize("scale", [*SCALINGS, rank_rows])
def test_unknown_cells_stay_unknown_and_count_for_nothing(scale, rng):
    scores = rng.standard_normal((4, 6)).astype(np.float32)
    scaled = scale(np.insert(scores, 2, np.nan, axis=1))
    assert np.isnan(scaled[:, 2]).all()
    np.testing.assert_allclose(np.delete(scaled, 2, axis=1), scale(scores), atol=1e-6)


def test_small_differences_beside_a_large_offset_are_told_apart():
    """Float32 near 1000 has steps of 6e-5: fifty of them are scores, not rounding."""
    steps = np.array([[0, 10, 20, 50]], np.float32)
    scores = np.float32(1000) + steps * np.spacing(np.float32(1000))
    np.testing.assert_allclose(zscore_rows(scores), zscore_rows(steps), atol=1e-6)
    rounding = np.float32(1000) + steps / 50 * np.spacing(np.float32(1000))
    assert not zscore_rows(rounding).any()


@pytest.mark.parametrize("scale", [*SCALINGS, rank_rows])
def test_float16_scores_are_scaled_in_float32(scale):
    assert scale(np.ones((2, 3), np.float16)).dtype == np.float32


def test_column_statistics_are_those_of_the_whole_bank(rng):
    bank = rng.standard_normal((50, 2, 5)).astype(np.float32)
    statistics = ColumnStatistics.of_tiles(np.split(bank, 5))
    np.testing.assert_allclose(statistics.mean, bank.mean(0), atol=1e-5)
    np.testing.assert_allclose(statistics.std, bank.std(0), rtol=1e-4)
    np.testing.assert_allclose(statistics.apply(bank).std(0), 1, rtol=1e-4)


def bank_with_holes(rng):
    bank = rng.standard_normal((50, 2, 5)).astype(np.float32)
    bank[rng.random(bank.shape) < 0.2] = -np.inf
    return bank


def test_moments_are_the_same_bits_however_many_columns_are_worked_on_at_once(rng, monkeypatch):
    bank = bank_with_holes(rng)
    expected = column_moments([bank])
    for n_columns in (1, 2, 4):
        monkeypatch.setattr(normalize, "COLUMNS_AT_ONCE", n_columns)
        np.testing.assert_array_equal(column_moments([bank]), expected)


def test_moments_of_parts_add_up_to_those_of_the_cells_that_are_there(rng):
    bank = bank_with_holes(rng)
    moments = column_moments(np.split(bank, 5))
    for k, n in np.ndindex(2, 5):
        cells = bank[:, k, n][bank[:, k, n] > -np.inf].astype(float)
        expected = [len(cells), cells.sum(), (cells**2).sum()]
        np.testing.assert_allclose(moments[:, k, n], expected, rtol=1e-5)
    np.testing.assert_allclose(
        moments - column_moments([bank[:20]]), column_moments([bank[20:]]), atol=1e-4
    )


def test_a_prior_counts_as_so_many_queries_with_mean_zero_and_deviation_one(rng):
    bank, n_prior = bank_with_holes(rng), 30.0
    statistics = ColumnStatistics.of_moments(column_moments([bank]), n_prior=n_prior)
    for k, n in np.ndindex(2, 5):
        cells = bank[:, k, n][bank[:, k, n] > -np.inf].astype(float)
        weights = np.array([len(cells), n_prior]) / (len(cells) + n_prior)
        assert statistics.mean[k, n] == pytest.approx(weights @ [cells.mean(), 0], abs=1e-6)
        assert statistics.std[k, n] ** 2 == pytest.approx(weights @ [cells.var(), 1], rel=1e-5)


def test_columns_nobody_varies_are_left_alone():
    bank = np.full((3, 1, 3), 2.0, np.float32)
    bank[:, :, 1] = -np.inf
    bank[1:, :, 2] = -np.inf
    statistics = ColumnStatistics.of_tiles([bank])
    np.testing.assert_array_equal(statistics.mean, [[2.0, 0.0, 0.0]])
    np.testing.assert_array_equal(statistics.std, [[1.0, 1.0, 1.0]])
