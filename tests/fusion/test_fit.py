"""What a fit leaves behind: everything of it, or nothing."""

from dataclasses import replace

import polars as pl
import pytest

from dafm_core.errors import DatasetError, FuserError
from dafm_core.fusion.static import BestSingle, WeightedFusion


def without(stack, column):
    """Return the stack with no id in a list column of its queries."""
    nothing = pl.Series(column, [[]] * stack.n_queries, dtype=pl.List(pl.String))
    queries = stack.dataset.queries.with_columns(nothing)
    return replace(stack, dataset=replace(stack.dataset, queries=queries))


def test_a_fit_that_fails_leaves_the_fuser_unfitted(make_problem):
    _, stack = make_problem()
    fuser = BestSingle()
    with pytest.raises(FuserError, match="no training query has a target"):
        fuser.fit(without(stack, "targets"))
    assert not fuser.is_fitted
    with pytest.raises(FuserError, match="BestSingle is not fitted"):
        fuser.fuse(stack)


def test_a_fit_that_fails_leaves_no_record_beside_what_another_fit_learned(make_problem):
    """The record would let queries through that the weights have seen."""
    _, stack = make_problem()
    train, other = stack.split(seed=0)
    fuser = WeightedFusion(objective="rsubset@1").fit(train)
    with pytest.raises(DatasetError, match="has no subset"):
        fuser.fit(without(other, "subset"))
    with pytest.raises(FuserError, match="not fitted"):
        fuser.fuse(train)
    assert fuser.fit(train).record_.query_ids == set(train.query_ids)
