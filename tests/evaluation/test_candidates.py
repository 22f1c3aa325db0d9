"""A query with candidates of its own is ranked against them only: metrics, fusions, submissions."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.cases.collecting import collect_cases
from dafm_core.comparison.compare import compare
from dafm_core.datasets import cirr
from dafm_core.evaluation.design import Folds
from dafm_core.evaluation.evaluate import evaluate, evaluate_providers
from dafm_core.formats.submission import fuser_blocks, rank
from dafm_core.fusion.static import MeanFusion, VotingFusion, WeightedFusion

METRICS = ("recall@1", "recall@5", "rsubset@1", "map@5", "mrr")


@pytest.fixture
def own(make_problem, rng):
    """Every query but each third has twelve candidates, its target among them."""
    dataset, stack = make_problem(n_queries=40)
    lists = []
    for i, targets in enumerate(dataset.targets):
        others = rng.choice(dataset.n_gallery, 12, replace=False)
        columns = np.union1d(others, targets)
        ids = [dataset.gallery_ids[c] for c in columns]
        lists.append(None if i % 3 == 0 else ids)
    series = pl.Series("candidates", lists, dtype=pl.List(pl.String))
    queries = dataset.queries.with_columns(series)
    return replace(stack, dataset=replace(dataset, queries=queries, metrics=METRICS))


def masked(stack):
    """The same rankings with every other image named as excluded, by hand."""
    lists = []
    for row in stack.dataset.queries.iter_rows(named=True):
        others = set(stack.gallery_ids) - set(row["candidates"] or stack.gallery_ids)
        lists.append(sorted(others | set(row["excluded"])))
    queries = stack.dataset.queries.with_columns(
        pl.Series("excluded", lists, dtype=pl.List(pl.String)),
        candidates=pl.lit(None, dtype=pl.List(pl.String)),
    )
    return replace(stack, dataset=replace(stack.dataset, queries=queries))


def test_singles_are_ranked_among_the_candidates(own):
    expected = evaluate_providers(masked(own))
    for name, evaluation in evaluate_providers(own).items():
        assert evaluation.frame.equals(expected[name].frame)
    whole = replace(own, dataset=replace(own.dataset, queries=without_candidates(own)))
    assert evaluate_providers(whole)["model-0"].values != expected["model-0"].values


def without_candidates(stack):
    nothing = pl.lit(None, dtype=pl.List(pl.String))
    return stack.dataset.queries.with_columns(candidates=nothing)


@pytest.mark.parametrize(
    "fuser", [MeanFusion(), VotingFusion(), WeightedFusion()], ids=lambda fuser: fuser.name
)
def test_fusions_see_the_candidates_only(own, fuser):
    by_hand = masked(own)
    one, other = fuser.clone().fit(own), fuser.clone().fit(by_hand)
    np.testing.assert_array_equal(one.fuse(own).scores, other.fuse(by_hand).scores)
    left, right = (evaluate(f, s, allow_fitted=True) for f, s in ((one, own), (other, by_hand)))
    assert left.frame.equals(right.frame)


def test_what_others_score_decides_nothing(own):
    """Any number in the cells of other images gives the same comparison."""
    loud = []
    rows, columns = own.dataset.excluded.rows, own.dataset.excluded.values
    for matrix in own.matrices:
        changed = np.array(matrix)
        changed[rows, columns] = 1e6
        loud.append(changed)
    design, rules = Folds(2), {"mean": MeanFusion(), "weighted": WeightedFusion()}
    quiet = compare(own, rules, design=design, n_resamples=50).to_json()
    again = compare(replace(own, matrices=tuple(loud)), rules, design=design, n_resamples=50)
    assert again.to_json() == quiet


def test_cases_list_candidates_only(own):
    cases = collect_cases(own, {"mean": MeanFusion()}, depth=20, reasons=False)
    for i, row in enumerate(own.dataset.queries.iter_rows(named=True)):
        allowed = set(row["candidates"] or own.gallery_ids) - set(row["excluded"])
        for name in cases.columns:
            listed = [own.gallery_ids[hit] for hit in cases.hits[name][i] if hit >= 0]
            assert set(listed) <= allowed
            assert len(listed) == min(20, len(allowed))


def test_a_submission_lists_candidates_only(own):
    stack = replace(own, dataset=replace(own.dataset, protocol="cirr-val", metrics=cirr.METRICS))
    blocks = fuser_blocks(MeanFusion(), stack)
    lists = rank(blocks, stack.dataset, gallery_ids=stack.gallery_ids, depth=50)
    for row in stack.dataset.queries.iter_rows(named=True):
        allowed = set(row["candidates"] or stack.gallery_ids) - set(row["excluded"])
        assert set(lists[row["query_id"]]) == allowed


def test_a_file_of_scores_without_labels_lists_the_same(own):
    """A target does not enter its ranking because it is known to be one."""
    stack = replace(own, dataset=replace(own.dataset, protocol="cirr-val"))
    first = [ids[0] for ids in stack.dataset.queries["targets"].to_list()]
    lists = [
        ids and [i for i in ids if i != target]
        for ids, target in zip(stack.dataset.queries["candidates"].to_list(), first, strict=True)
    ]
    series = pl.Series("candidates", lists, dtype=pl.List(pl.String))
    queries = stack.dataset.queries.with_columns(series)
    labelled = replace(stack.dataset, queries=queries)
    nothing = pl.lit([], dtype=pl.List(pl.String))
    blind = replace(labelled, queries=queries.with_columns(targets=nothing))
    scores = np.array(stack.matrices[0])
    found = [
        rank([(stack.query_ids, scores)], d, gallery_ids=stack.gallery_ids, depth=50)
        for d in (labelled, blind)
    ]
    assert found[0] == found[1]
