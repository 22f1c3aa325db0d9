"""Best single, mean and maximum."""

import numpy as np
import pytest

from dafm_core.errors import OptionError
from dafm_core.evaluation.evaluate import evaluate_providers
from dafm_core.fusion.static import BestSingle, MaxFusion, MeanFusion
from dafm_core.ground.normalize import NORMALIZATIONS


def test_best_single_is_the_best_single(make_problem):
    _, stack = make_problem()
    singles = evaluate_providers(stack)
    best = max(singles, key=lambda name: singles[name].values["recall@5"])
    fitted = BestSingle(objective="recall@5").fit(stack)
    assert (fitted.kind, fitted.provider_) == ("single", best)
    np.testing.assert_array_equal(fitted.fuse(stack).scores, stack.select([best]).tile(0, 60)[:, 0])


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_mean_and_maximum_are_those_of_the_normalised_scores(make_problem, normalize):
    _, stack = make_problem()
    scaled = NORMALIZATIONS[normalize](stack.tile(0, 60))
    for fuser, expected in (
        (MeanFusion(normalize=normalize), scaled.mean(axis=1)),
        (MaxFusion(normalize=normalize), scaled.max(axis=1)),
    ):
        np.testing.assert_allclose(fuser.fuse(stack).scores, expected, rtol=1e-5)


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(OptionError, match=r"normalize: unknown 'zscor'; did you mean 'zscore'\?"):
        MeanFusion(normalize="zscor")
