"""Logistic stacking: against scikit-learn used by hand on every cell."""

import numpy as np
import pytest
from dafm_core.fusion.channels.inputs import DEFAULT_INPUTS
from sklearn.linear_model import LogisticRegression

from dafm_core.errors import OptionError
from dafm_core.evaluation.evaluate import evaluate, evaluate_providers
from dafm_core.fusion.logistic import LogisticFusion
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.ground.normalize import zscore_rows
from dafm_core.store.stack import SimilarityStack


def test_all_cells_give_the_weights_of_scikit_learn_by_hand(make_problem):
    dataset, stack = make_problem()
    fitted = LogisticFusion(inputs="rows", n_negatives=stack.n_gallery).fit(stack)
    scores = zscore_rows(stack.tile(0, stack.n_queries))
    kept = np.isfinite(scores[:, 0])
    right = np.zeros(kept.shape, bool)
    right[dataset.targets.rows, dataset.targets.values] = True
    by_hand = LogisticRegression(class_weight="balanced", max_iter=1000)
    by_hand.fit(scores.transpose(0, 2, 1)[kept], right[kept])
    np.testing.assert_allclose(fitted.weights_, by_hand.coef_[0], rtol=1e-3)


def test_sampled_negatives_stand_for_all(make_problem):
    dataset, stack = make_problem(n_queries=300, n_gallery=300)
    every = LogisticFusion(inputs="rows", n_negatives=300).fit(stack).weights_
    some = LogisticFusion(inputs="rows", n_negatives=60).fit(stack).weights_
    np.testing.assert_allclose(some, every, rtol=0.15)


@pytest.mark.parametrize("inputs", ["rows", DEFAULT_INPUTS])
def test_it_beats_every_single_and_is_the_same_after_saving(make_problem, tmp_path, inputs):
    dataset, stack = make_problem(n_queries=400, noise=(1.5, 1.5, 2.0))
    fit, held_out = dataset.split(test_size=0.5, seed=0)
    fitted = LogisticFusion(inputs=inputs).fit(stack, fit)
    fused = evaluate(fitted, stack, held_out).values["recall@1"]
    singles = evaluate_providers(stack, held_out)
    assert fused > max(e.values["recall@1"] for e in singles.values())
    again = load_fuser(save_fuser(fitted, tmp_path / "model"))
    np.testing.assert_array_equal(again.fuse(stack).scores, fitted.fuse(stack).scores)


def test_fitting_again_gives_the_same_bits_and_a_shuffled_gallery_the_same_weights(
    make_problem, rng
):
    dataset, stack = make_problem(n_gallery=200)
    rows = {"inputs": "rows"}
    fitted = LogisticFusion(**rows).fit(stack).weights_
    np.testing.assert_array_equal(LogisticFusion(**rows).fit(stack).weights_, fitted)
    order = [stack.gallery_ids[j] for j in rng.permutation(200)]
    shuffled = LogisticFusion(**rows).fit(stack.take_gallery(order), dataset).weights_
    np.testing.assert_allclose(shuffled, fitted, rtol=1e-3)


def test_a_gallery_of_one_has_nothing_to_tell_apart(make_problem):
    dataset, stack = make_problem(n_queries=4)
    target = dataset.queries["targets"].to_list()[0][0]
    one = dataset.take(["q0"])
    only = stack.take_queries(["q0"]).take_gallery([target])
    small = SimilarityStack.from_matrices(
        {name: only.tile(0, 1)[:, k] for k, name in enumerate(stack.names)},
        protocol=stack.protocol,
        query_ids=["q0"],
        gallery_ids=[target],
    )
    assert np.isfinite(LogisticFusion().fit(small, one).fuse(small).scores).all()


def test_options_are_checked():
    with pytest.raises(OptionError, match="regularization, n_hard and n_negatives > 0, got 0"):
        LogisticFusion(regularization=0)
    with pytest.raises(OptionError, match="no input 'x'"):
        LogisticFusion(inputs="x")
