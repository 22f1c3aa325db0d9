"""Logistic stacking: against scikit-learn used by hand on every cell.

What it shares with other fusions over channels is tested in ``channels/test_fuser.py``.
"""

import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.linear_model import LogisticRegression

from dafm_core.errors import OptionError
from dafm_core.evaluation.evaluate import evaluate, evaluate_providers
from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.channels.families import DEFAULT_INPUTS
from dafm_core.fusion.logistic import LogisticFusion, _cells
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.ground.normalize import zscore_rows


def test_all_cells_give_the_weights_of_scikit_learn_by_hand(make_problem):
    dataset, stack = make_problem()
    fitted = LogisticFusion(inputs="rows", n_uniform=stack.n_gallery).fit(stack)
    scores = zscore_rows(stack.tile(0, stack.n_queries))
    kept = np.isfinite(scores[:, 0])
    right = np.zeros(kept.shape, bool)
    right[dataset.targets.rows, dataset.targets.values] = True
    by_hand = LogisticRegression(class_weight="balanced", max_iter=1000, tol=1e-10)
    by_hand.fit(scores.transpose(0, 2, 1)[kept].astype(np.float64), right[kept])
    np.testing.assert_allclose(fitted.weights_, by_hand.coef_[0], rtol=1e-5)


def test_it_has_converged(make_problem):
    """The gradient of the loss vanishes at its weights, by finite differences of the loss."""
    _, stack = make_problem(n_queries=120, n_gallery=100)
    fitted = LogisticFusion().fit(stack)
    options = fitted.options
    examples = make_examples(
        stack, fitted.families_, n_hard=options.n_hard, n_uniform=options.n_uniform, seed=0
    )
    cells, is_target, weight = _cells(examples)
    design = np.column_stack([cells.astype(np.float64), np.ones(len(cells))])
    sign = np.where(is_target, 1.0, -1.0)
    channels = fitted.weights_

    def gradient(intercept):
        at = np.append(channels, intercept)
        slope = -weight * sign / (1 + np.exp(sign * (design @ at)))
        penalty = np.append(channels, 0) / options.regularization
        return (design.T @ slope + penalty) / weight.sum()

    intercept = brentq(lambda b: gradient(b)[-1], -50, 50, xtol=1e-14)
    assert np.abs(gradient(intercept)).max() < 1e-7


def test_sampled_negatives_stand_for_all(make_problem):
    _, stack = make_problem(n_queries=300, n_gallery=300)
    every = LogisticFusion(inputs="rows", n_uniform=300).fit(stack).weights_
    some = LogisticFusion(inputs="rows", n_uniform=60).fit(stack).weights_
    np.testing.assert_allclose(some, every, rtol=0.15)


@pytest.mark.parametrize("inputs", ["rows", DEFAULT_INPUTS])
def test_it_beats_every_single_and_is_the_same_after_saving(make_problem, tmp_path, inputs):
    _, stack = make_problem(n_queries=400, noise=(1.5, 1.5, 2.0))
    fit, held_out = stack.split(test_size=0.5, seed=0)
    fitted = LogisticFusion(inputs=inputs).fit(fit)
    fused = evaluate(fitted, held_out).values["recall@1"]
    singles = evaluate_providers(held_out)
    assert fused > max(e.values["recall@1"] for e in singles.values())
    again = load_fuser(save_fuser(fitted, tmp_path / "model"))
    np.testing.assert_array_equal(again.fuse(stack).scores, fitted.fuse(stack).scores)


def test_fitting_again_gives_the_same_bits_and_a_shuffled_gallery_the_same_weights(
    make_problem, rng
):
    _, stack = make_problem(n_gallery=200)
    rows = {"inputs": "rows"}
    weights = LogisticFusion(**rows).fit(stack).weights_
    np.testing.assert_array_equal(LogisticFusion(**rows).fit(stack).weights_, weights)
    order = [stack.gallery_ids[j] for j in rng.permutation(200)]
    shuffled = LogisticFusion(**rows).fit(stack.take_gallery(order)).weights_
    np.testing.assert_allclose(shuffled, weights, rtol=1e-5)


def test_a_gallery_of_one_has_nothing_to_tell_apart(make_problem):
    dataset, stack = make_problem(n_queries=4)
    target = dataset.queries["targets"].to_list()[0][0]
    small = stack.take_queries(["q0"]).take_gallery([target])
    fitted = LogisticFusion().fit(small)
    np.testing.assert_allclose(fitted.weights_, 1 / len(fitted.weights_))
    assert np.isfinite(fitted.fuse(small).scores).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regularization": 0}, "LogisticFusion: expected regularization > 0, got 0"),
        ({"n_uniform": 0}, "LogisticFusion: expected n_uniform >= 1, got 0"),
        ({"n_hard": -3}, "LogisticFusion: expected n_hard >= 1, got -3"),
        ({"n_negatives": 5}, "LogisticFusion: unknown option 'n_negatives'"),
        ({"inputs": "x"}, "LogisticFusion: no input 'x'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(OptionError, match=message):
        LogisticFusion(**options)
