"""Nested selection: the choice is made within the training queries, as by hand."""

import logging

import pytest

from dafm_core.comparison.compare import compare
from dafm_core.errors import FuserError, LeakageError, OptionError
from dafm_core.evaluation.crossfit import fit_and_evaluate
from dafm_core.evaluation.design import Folds
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.evaluation.tuning import SelectedFusion, candidates
from dafm_core.fusion.debiased import DebiasedFusion
from dafm_core.fusion.logistic import LogisticFusion
from dafm_core.fusion.static import VotingFusion

SHARP = {"good": LogisticFusion(), "blunt": LogisticFusion(regularization=1e-9, inputs="ranks")}


@pytest.fixture
def problem(make_problem):
    return make_problem(n_queries=120, noise=(0.5, 3.0, 6.0))


def test_it_chooses_as_a_loop_by_hand_and_fits_the_choice_on_everything(problem):
    _, stack = problem
    fit, held_out = stack.split(test_size=0.3, seed=0)
    selected = SelectedFusion(candidates=SHARP, folds=3, seed=1).fit(fit)
    for name, fuser in SHARP.items():
        parts = [
            evaluate(type(fuser)(**fuser.params()).fit(train), test).frame
            for train, test in fit.folds(3, seed=1)
        ]
        means = [frame.drop("query_id", "group").to_numpy() for frame in parts]
        by_hand = sum(m.sum() for m in means) / sum(m.size for m in means)
        assert selected.quality_[name] == pytest.approx(by_hand)
    assert selected.chosen_ == max(selected.quality_, key=selected.quality_.get) == "good"
    alone = LogisticFusion().fit(fit)
    assert evaluate(selected, held_out).values == evaluate(alone, held_out).values
    assert selected.record_.query_ids == set(fit.query_ids)
    assert not hasattr(SHARP["good"], "weights_")  # what is given stays unfitted


def test_a_chosen_rule_that_uses_no_label_remembers_the_labels_it_was_chosen_by(problem):
    _, stack = problem
    fit, bank = stack.split(test_size=0.3, seed=0)
    rules = {"ranks": DebiasedFusion(topics=0.0), "topics": DebiasedFusion(ranks=0.0)}
    selected = SelectedFusion(candidates=rules, folds=2).fit(fit, bank=bank)
    assert selected.deployed.record_.query_ids == set(fit.query_ids)
    with pytest.raises(LeakageError, match="expected queries it was not fitted on"):
        evaluate(selected.deployed, fit)


def test_cross_fitted_it_never_chooses_by_held_out_queries(problem):
    """Targets of held-out queries can change without changing what is chosen."""
    _, stack = problem
    parts = Folds(3).parts(stack)
    chosen = [SelectedFusion(candidates=SHARP).fit(train).quality_ for train, _ in parts]
    (nested,) = fit_and_evaluate(SelectedFusion(candidates=SHARP), stack, parts)
    (plain,) = fit_and_evaluate(SHARP["good"], stack, parts)
    assert all(max(quality, key=quality.get) == "good" for quality in chosen)
    assert nested.values == plain.values


def test_it_is_compared_like_any_fuser(problem):
    _, stack = problem
    rules = {"a": VotingFusion("rrf", constant=1.0), "b": VotingFusion("rrf", constant=60.0)}
    rows = {"tuned": SelectedFusion(candidates=SHARP), "rule": SelectedFusion(candidates=rules)}
    found = compare(stack, rows, design=Folds(3), n_resamples=100)
    assert {row.name: row.kind for row in found.rows[-2:]} == {"rule": "static", "tuned": "learned"}


def test_one_candidate_or_one_group_leaves_nothing_to_choose(problem, caplog):
    dataset, stack = problem
    with caplog.at_level(logging.WARNING):
        one = SelectedFusion(candidates={"only": LogisticFusion()}).fit(stack)
        few = SelectedFusion(candidates=SHARP).fit(stack.take_queries(dataset.query_ids[:4]))
    assert (one.chosen_, few.chosen_) == ("only", "good")
    assert "nothing to choose by; good it is" in caplog.text


def test_what_cannot_be_is_refused(problem):
    with pytest.raises(OptionError, match="at least one candidate"):
        SelectedFusion(candidates={})
    with pytest.raises(FuserError, match="not fitted"):
        SelectedFusion(candidates=SHARP).fuse(problem[1])
    with pytest.raises(FuserError, match="save best_"):
        SelectedFusion(candidates=SHARP).get_state()


def test_every_combination_is_a_candidate():
    made = candidates(dict, {"seed": "1"}, {"a": ["1", "2"], "b": ["x"]})
    assert made == {
        "a=1, b=x": {"seed": "1", "a": "1", "b": "x"},
        "a=2, b=x": {"seed": "1", "a": "2", "b": "x"},
    }
    with pytest.raises(OptionError, match="'a' is both set and tuned"):
        candidates(dict, {"a": "1"}, {"a": ["2"]})
