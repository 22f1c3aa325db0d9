"""Designs: what they fit on, what they hold out, what is shared all the same, and their words."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.errors import DatasetError
from dafm_core.evaluation.design import AsGiven, Folds, Part, Train, leakage


@pytest.fixture
def stack(make_problem):
    return make_problem()[1]


def with_groups(stack, group):
    """Return the stack with one group for all queries."""
    queries = stack.dataset.queries.with_columns(group=pl.lit(group))
    return replace(stack, dataset=replace(stack.dataset, queries=queries))


def test_folds_hold_every_query_out_once_and_fit_on_all_others(stack):
    parts = Folds(3, seed=2).parts(stack)
    held_out = [query for part in parts for query in part.test.query_ids]
    assert sorted(held_out) == sorted(stack.query_ids)
    for train, test in parts:
        assert not set(train.dataset.groups) & set(test.dataset.groups)
        assert set(train.query_ids) == set(stack.query_ids) - set(test.query_ids)
    pairs = stack.folds(3, seed=2)
    assert [p.test.query_ids for p in parts] == [test.query_ids for _, test in pairs]
    assert [p.test.query_ids for p in Folds(3).parts(stack)] != [p.test.query_ids for p in parts]
    with pytest.raises(DatasetError, match="between 2 and 1"):
        Folds(3).parts(with_groups(stack, "same"))


def test_a_training_part_is_one_part_and_as_given_fits_on_nothing(stack):
    train, test = stack.split(seed=0)
    assert Train(train).parts(test) == [Part(train, test)]
    assert AsGiven().parts(stack) == [Part(None, stack)]


def test_designs_describe_themselves(stack):
    train, _ = stack.split(seed=0)
    assert Folds().words == "cross-fitted on 5 folds that share no group"
    assert Folds(3, seed=7).key == "cross-fitted on 3 folds that share no group, seed 7"
    assert Train(train).words == f"fitted on {train.n_queries} queries of toy-val"
    assert Train(train).key.startswith(Train(train).words)
    assert AsGiven().words == AsGiven().key
    assert AsGiven().words.startswith("fusers as given")
    assert repr(Train(train)) == f"Train({train!r})"
    assert len(repr(train)) < 100  # counts and names; the rows are too long to be read


def test_the_key_tells_everything_that_decides_a_design_apart(stack):
    """Trials are counted by it: two training parts of one size are two designs."""
    train = stack.take_queries(stack.query_ids[:20])
    other = stack.take_queries(stack.query_ids[-20:])
    designs = [Folds(3), Folds(3, seed=1), Folds(4), Train(train), Train(other), AsGiven()]
    assert len({design.key for design in designs}) == len(designs)
    assert Train(train).words == Train(other).words
    moved = train.take_queries(train.query_ids[::-1])
    assert Train(moved).key == Train(train).key  # the order of queries decides nothing


def test_leakage_counts_what_held_out_queries_share(make_problem):
    _, stack = make_problem(n_queries=16)
    parts = Folds(4).parts(stack)
    shares = leakage(parts)
    assert shares.groups == 0.0
    for share, column in ((shares.targets, "targets"), (shares.references, "references")):
        expected = np.mean(
            [
                bool(set(value) & set(train.dataset.queries[column].explode()))
                for train, test in parts
                for value in test.dataset.queries[column].to_list()
            ]
        )
        assert share == pytest.approx(expected)
        assert 0 < share < 1
    one = with_groups(stack, "same")
    both = leakage(Train(one).parts(one))
    assert (both.groups, both.targets, both.references) == (1.0, 1.0, 1.0)


def test_nothing_leaks_where_nothing_is_fitted(stack):
    assert leakage(AsGiven().parts(stack)) is None


def test_connected_folds_share_no_target_and_no_reference(make_problem):
    _, stack = make_problem(n_queries=30, n_gallery=400)
    plain, connected = Folds(3), Folds(3, connected=True)
    assert leakage(plain.parts(stack)).targets + leakage(plain.parts(stack)).references > 0
    found = leakage(connected.parts(stack))
    assert (found.groups, found.targets) == (0, 0)
    assert found.references == 0
    assert len(set(connected.groups(stack.dataset).tolist())) < len(set(stack.dataset.groups))
    assert "target or reference" in connected.words
