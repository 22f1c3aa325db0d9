"""Weights for an engine that re-scores a window of first hits."""

import numpy as np
import pytest

import dafm_core as dafm
from dafm_core.errors import OptionError
from dafm_core.evaluation.windows import fit_on_windows, window_loss, windowed
from dafm_core.fusion.static import WeightedFusion


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    dataset = dafm.load_dataset("scenes", families="20")
    names = ["scenes-color", "scenes-layout", "scenes-words"]
    return dafm.score(dataset, names, store=tmp_path_factory.mktemp("store"))


def test_a_window_holds_each_models_first_and_nothing_else(stack):
    tile, cut = stack.tile(0, 6), windowed(stack, 5).tile(0, 6)
    inside = np.isfinite(cut[:, 0])
    assert (np.isfinite(cut).all(axis=1) == inside).all()
    for row, kept in zip(tile, inside, strict=True):
        for scores in row:
            assert kept[np.argsort(-scores, kind="stable")[:1]].all()
            assert set(np.flatnonzero(scores > np.sort(scores)[-5])) <= set(np.flatnonzero(kept))
    first = (tile >= np.sort(tile, axis=2)[:, :, -5:-4]).any(axis=1)
    assert (inside <= first).all()
    assert not inside.all()
    np.testing.assert_array_equal(cut[:, :, :][np.isfinite(cut)], tile[np.isfinite(cut)])
    np.testing.assert_array_equal(windowed(stack, 5).read(np.arange(6)), cut)


def test_a_window_of_the_whole_gallery_loses_nothing(stack):
    whole = WeightedFusion(normalize="zscore").fit(stack)
    seen = fit_on_windows(WeightedFusion(normalize="zscore"), windowed(stack, stack.n_gallery))
    np.testing.assert_allclose(seen.weights_, whole.weights_)
    lost = window_loss(WeightedFusion(normalize="zscore"), stack, stack.n_gallery, n_folds=3)
    assert all(a == pytest.approx(b) for a, b in lost.values())


def test_a_narrow_window_misses_targets(stack):
    lost = window_loss(WeightedFusion(normalize="zscore"), stack, 2, n_folds=3)
    assert lost["recall@10"][1] <= lost["recall@10"][0]
    with pytest.raises(OptionError, match="at least 2"):
        windowed(stack, 1)
