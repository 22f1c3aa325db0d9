"""Held-out evaluation against a loop by hand, and the shortcut for tuned rules."""

import pytest

from dafm_core.evaluation.crossfit import fit_and_evaluate, tune_and_evaluate
from dafm_core.evaluation.design import AsGiven, Folds, Train
from dafm_core.evaluation.evaluate import combine, evaluate
from dafm_core.fusion.static import (
    BestSingle,
    MarginFusion,
    MeanFusion,
    VotingFusion,
    WeightedFusion,
)

METRICS = ["recall@1", "rsubset@1"]


@pytest.fixture
def stack(make_problem):
    return make_problem()[1]


def test_every_part_is_ranked_by_a_copy_fitted_on_its_training_part(stack):
    parts = Folds(3, seed=1).parts(stack)
    fuser = WeightedFusion()
    (found,) = fit_and_evaluate(fuser, stack, parts, metrics=METRICS, name="weights")
    by_hand = [evaluate(fuser.clone().fit(train), test, metrics=METRICS) for train, test in parts]
    assert found.frame.equals(combine("weights", by_hand, stack.dataset).frame)
    assert found.name == "weights"
    assert found.frame["query_id"].to_list() == list(stack.query_ids)
    assert not fuser.is_fitted


def test_orders_of_the_gallery_are_ranked_by_the_same_fits(stack, rng):
    parts = Folds(2).parts(stack)
    order = rng.permutation(stack.gallery_ids).tolist()
    fits = []

    class Counted(WeightedFusion):
        def _fit(self, stack, *, bank, progress):
            fits.append(stack.query_ids)
            super()._fit(stack, bank=bank, progress=progress)

        def _scorer(self, gallery):
            score = super()._scorer(gallery)
            first = gallery.ids.positions([min(gallery.ids)])
            ordered = gallery.ids == tuple(order)

            def tell(tile):  # puts one image first, in one of the orders only
                fused = score(tile)
                if ordered:
                    fused[:, first] = 99.0
                return fused

            return tell

    given, shuffled = fit_and_evaluate(Counted(), stack, parts, orders=(None, order))
    assert fits == [train.query_ids for train, _ in parts]
    assert given.frame.equals(fit_and_evaluate(WeightedFusion(), stack, parts)[0].frame)
    assert shuffled.values["recall@1"] < given.values["recall@1"]


def test_without_a_training_part_a_fuser_is_used_as_it_is(stack):
    train, test = stack.split(seed=0)
    fitted = WeightedFusion().fit(train)
    (found,) = fit_and_evaluate(fitted, test, AsGiven().parts(test))
    assert found.frame.equals(evaluate(fitted, test).frame)
    (copied,) = fit_and_evaluate(WeightedFusion(), test, Train(train).parts(test))
    assert copied.frame.equals(found.frame)


def test_progress_is_told_each_part(stack):
    seen = []
    fit_and_evaluate(
        MeanFusion(),
        stack,
        Folds(3).parts(stack),
        progress=lambda *step: seen.append(step),
    )
    assert seen == [("MeanFusion", done, 3) for done in range(4)]


@pytest.mark.parametrize(
    "rule",
    [
        BestSingle(),
        MeanFusion(),
        MeanFusion(objective="recall@5"),
        VotingFusion("rrf"),
        MarginFusion(),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_measuring_once_gives_what_fitting_each_fold_gives(stack, rule):
    parts = Folds(3).parts(stack)
    (slow,) = fit_and_evaluate(rule, stack, parts, metrics=METRICS)
    fast = tune_and_evaluate({"rule": rule}, stack, parts, metrics=METRICS)["rule"]
    assert fast.frame.equals(slow.frame)


def test_a_clone_is_new_alike_and_unfitted(stack):
    rule = VotingFusion("rrf", constant=3).fit(stack)
    assert rule.clone() is not rule
    assert rule.clone().params() == rule.params()
    assert rule.is_fitted
    assert not rule.clone().is_fitted
