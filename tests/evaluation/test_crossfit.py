"""Folds that share no group, leakage counted, and the shortcut for tuned rules."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.errors import DatasetError, OptionError
from dafm_core.evaluation.crossfit import (
    clone,
    fit_and_evaluate,
    fold_splits,
    grouped_folds,
    leakage,
    splits_of,
    tune_and_evaluate,
)
from dafm_core.fusion.static import BestSingle, MarginFusion, MeanFusion, VotingFusion


@given(
    st.lists(st.integers(0, 12), min_size=15, max_size=80).filter(lambda g: len(set(g)) >= 4),
    st.integers(2, 4),
    st.integers(0, 5),
)
def test_folds_part_the_groups(groups, n_folds, seed):
    fold = grouped_folds(groups, n_folds, seed=seed)
    assert set(fold) == set(range(n_folds))
    assert all(len(set(fold[np.array(groups) == g])) == 1 for g in set(groups))
    assert (fold == grouped_folds(groups, n_folds, seed=seed)).all()


def test_folds_are_of_about_equal_size():
    fold = grouped_folds(np.repeat(np.arange(100), 7), 5)
    assert np.bincount(fold).tolist() == [140] * 5


@pytest.mark.parametrize("n_folds", [0, 1, 4])
def test_impossible_folds_are_refused(n_folds):
    with pytest.raises(DatasetError, match="expected between 2 and 3"):
        grouped_folds(["a", "b", "c"], n_folds)


def test_leakage_counts_what_held_out_queries_share(make_problem):
    dataset, _ = make_problem(n_queries=16)
    splits = fold_splits(dataset, 4)
    shares = leakage(splits)
    assert shares.groups == 0.0
    expected = np.mean(
        [
            target in {t for ts in train.queries["targets"] for t in ts}
            for train, test in splits
            for (target,) in test.queries["targets"].to_list()
        ]
    )
    assert shares.targets == pytest.approx(expected)
    one = replace(dataset, queries=dataset.queries.with_columns(group=pl.lit("same")))
    assert leakage([(one, one)]).groups == leakage([(one, one)]).references == 1.0


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
def test_measuring_once_gives_what_fitting_each_fold_gives(make_problem, rule):
    dataset, stack = make_problem()
    splits = fold_splits(dataset, 3)
    options = {"metrics": ["recall@1", "rsubset@1"]}
    (slow,) = fit_and_evaluate(rule, [stack], dataset, splits, train_stack=stack, **options)
    fast = tune_and_evaluate({"rule": rule}, stack, dataset, splits, **options)["rule"]
    assert fast.frame.equals(slow.frame)


def test_a_clone_is_new_and_alike():
    rule = VotingFusion("rrf", constant=3)
    assert clone(rule) is not rule
    assert clone(rule).params() == rule.params()


def test_splits_follow_what_is_asked_for(make_problem):
    dataset, _ = make_problem()
    train, test = dataset.split(seed=0)
    assert splits_of(test, None, train, 0) == [(train, test)]
    assert splits_of(dataset, None, None, 0) == []
    folds = splits_of(dataset, 3, None, 0)
    assert sorted(q for _, part in folds for q in part.query_ids) == sorted(dataset.query_ids)
    with pytest.raises(OptionError, match="got both"):
        splits_of(test, 3, train, 0)
