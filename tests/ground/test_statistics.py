"""Intervals and tests: against theory, naive loops, and simulated truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dafm_core.errors import DatasetError
from dafm_core.ground import statistics
from dafm_core.ground.statistics import (
    Resampler,
    StratifiedResampler,
    detectable,
    holm,
    t_quantile,
)


def clustered(rng, n_groups=80, size=6, between=1.0, within=1.0, mean=0.0):
    groups = np.repeat(np.arange(n_groups), size)
    values = (
        mean + between * rng.normal(size=n_groups)[groups] + within * rng.normal(size=groups.size)
    )
    return groups, values[:, None]


def test_means_equal_a_loop_over_drawn_groups(rng):
    groups, values = clustered(rng, n_groups=5, size=3)
    means = Resampler(groups, n_resamples=4, seed=3).means(values)
    draws = np.random.default_rng(3).integers(0, 5, (4, 5))
    expected = [np.concatenate([values[groups == g] for g in row]).mean() for row in draws]
    np.testing.assert_allclose(means[:, 0], expected)


def test_chunks_are_drawn_one_after_the_other_and_groups_may_differ_in_size(rng, monkeypatch):
    monkeypatch.setattr(statistics, "CHUNK", 3)
    monkeypatch.setattr(statistics, "FEW_GROUPS", 0)  # percentiles, as with many groups
    groups, values = np.repeat(np.arange(4), [1, 2, 5, 3]), rng.normal(size=(11, 2))
    draws = np.random.default_rng(8)
    picked = np.concatenate([draws.integers(0, 4, (n, 4)) for n in (3, 3, 1)])
    expected = [
        np.concatenate([values[groups == group] for group in row]).mean(axis=0) for row in picked
    ]
    resampler = Resampler(groups, n_resamples=7, seed=8)
    np.testing.assert_allclose(resampler.means(values), expected)
    low, high, error = resampler.summary(values, level=0.9)
    np.testing.assert_allclose([low, high], np.percentile(expected, [5, 95], axis=0))
    np.testing.assert_allclose(error, np.std(expected, axis=0))


def test_the_design_effect_is_squared_sums_of_groups_over_squared_values(rng):
    groups, values = np.repeat(np.arange(4), [1, 2, 5, 3]), rng.normal(size=11)
    centred = values - values.mean()
    sums = [sum(centred[groups == group]) for group in range(4)]
    expected = sum(s**2 for s in sums) / sum(v**2 for v in centred)
    assert Resampler(groups).design_effect(values) == pytest.approx(expected)
    assert Resampler(groups).design_effect(np.full(11, 0.5)) is None


def test_standard_error_is_that_of_group_means(rng):
    groups, values = clustered(rng)
    *_, error = Resampler(groups).summary(values)
    by_group = values.reshape(80, 6).mean(axis=1)
    assert error[0] == pytest.approx(by_group.std() / np.sqrt(80), rel=0.05)


def test_the_standard_error_of_strata_adds_up_theirs_by_their_shares(rng):
    groups, values = np.repeat(np.arange(30), 4), rng.normal(size=(120, 2))
    strata = np.array(["a"] * 80 + ["b"] * 40)
    variance = 0
    for name, share in (("a", 2 / 3), ("b", 1 / 3)):
        own = strata == name
        variance += (share * Resampler(groups[own]).standard_error(values[own])) ** 2
    found = StratifiedResampler(groups, strata).standard_error(values)
    np.testing.assert_allclose(found, np.sqrt(variance))


def test_groups_of_one_are_the_ordinary_bootstrap(rng):
    values = rng.normal(size=(400, 1))
    low, high, error = Resampler(np.arange(400)).summary(values)
    assert error[0] == pytest.approx(values.std() / 20, rel=0.05)
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.07)


def test_same_seed_same_numbers_whatever_stands_beside(rng):
    groups, values = clustered(rng)
    alone = Resampler(groups, seed=1).summary(values)
    beside = Resampler(groups, seed=1).summary(np.concatenate([values, values**2], axis=1))
    np.testing.assert_allclose([a[0] for a in alone], [b[0] for b in beside])


def test_intervals_cover_and_tests_keep_their_level(rng):
    covered, rejected = [], []
    for _ in range(150):
        groups, values = clustered(rng, n_groups=60)
        resampler = Resampler(groups, n_resamples=400)
        low, high, _ = resampler.summary(values)
        covered.append(low[0] <= 0 <= high[0])
        rejected.append(resampler.sign_flip(values)[0] < 0.05)
    assert 0.88 <= np.mean(covered) <= 0.99
    assert np.mean(rejected) <= 0.11


@pytest.mark.parametrize("n_groups", [6, 8, 15, 30])
def test_intervals_cover_with_few_groups_too(rng, n_groups):
    """Percentiles of resamples cover 84 to 92 % here."""
    covered = []
    for _ in range(600):
        groups, values = clustered(rng, n_groups=n_groups)
        low, high, _ = Resampler(groups).summary(values)
        covered.append(low[0] <= 0 <= high[0])
    assert 0.925 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize("n_free", [1, 2, 7, 39])
def test_quantiles_of_t_are_those_of_scipy(n_free):
    for probability in (0.9, 0.975, 0.995):
        expected = stats.t.ppf(probability, n_free)
        assert t_quantile(probability, n_free) == pytest.approx(expected, rel=1e-4)


def test_independence_would_have_been_too_sure(rng):
    groups, values = clustered(rng, between=2.0, within=0.5)
    apart = Resampler(np.arange(groups.size)).summary(values)[2][0]
    together = Resampler(groups)
    assert together.summary(values)[2][0] > 2 * apart
    assert together.design_effect(values[:, 0]) == pytest.approx(6, rel=0.2)


def test_sign_flip_finds_a_clear_difference_and_never_zero(rng):
    groups, values = clustered(rng, mean=3.0)
    assert Resampler(groups, n_resamples=999).sign_flip(values)[0] == pytest.approx(1 / 1000)
    assert Resampler(groups, n_resamples=99).sign_flip(np.zeros_like(values))[0] == 1.0


def test_sign_flip_equals_all_flips_on_few_groups(rng):
    values = rng.normal(size=(6, 1)) + 0.5
    flips = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1)
    sums = np.abs(values[:, 0] @ flips)
    exact = (sums >= abs(values.sum()) - 1e-9).mean()
    assert Resampler(np.arange(6), n_resamples=20_000).sign_flip(values)[0] == pytest.approx(
        exact, abs=0.02
    )


@given(st.lists(st.floats(0.0001, 1), min_size=1, max_size=8))
def test_holm_is_monotone_and_between_raw_and_bonferroni(p_values):
    raw, adjusted = np.array(p_values), holm(p_values)
    assert (adjusted >= raw - 1e-12).all()
    assert (adjusted <= np.minimum(1, raw * len(raw)) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(raw)]) >= -1e-12).all()


@given(st.lists(st.integers(1, 20).map(lambda n: n / 20), min_size=1, max_size=8))
def test_holm_is_the_largest_of_the_scaled_values_so_far(p_values):
    """The smallest is multiplied by n, the next by n - 1, and none falls below one before it."""
    adjusted = holm(p_values)
    so_far = 0.0
    for place, i in enumerate(np.argsort(p_values)):
        so_far = max(so_far, p_values[i] * (len(p_values) - place))
        assert adjusted[i] == pytest.approx(min(1.0, so_far))


def test_a_detectable_difference_is_detected_four_times_in_five(rng):
    n = 100
    difference = detectable(1 / np.sqrt(n))
    found = [abs(rng.normal(difference, 1, n).mean()) > 1.96 / np.sqrt(n) for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_one_group_says_nothing():
    with pytest.raises(DatasetError, match="at least two groups"):
        Resampler(["a", "a"]).summary(np.ones((2, 1)))
