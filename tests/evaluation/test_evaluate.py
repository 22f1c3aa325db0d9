"""The per-query frame: against a naive loop, aligned by id, refusing what would mislead."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.errors import AlignmentError, DatasetError, LeakageError, OptionError
from dafm_core.evaluation.evaluate import (
    combine,
    evaluate,
    evaluate_providers,
    evaluate_run,
    mean_over_protocols,
    oracle,
)
from dafm_core.fusion.base import Fuser, Run


class Sum(Fuser):
    """The plainest fuser: adds raw scores."""

    learns = True

    def scorer(self, stack):
        return lambda tile: tile.sum(1)


@pytest.fixture
def problem(make_problem):
    return make_problem()


def naive_recall(dataset, scores, k):
    """Sort every row of one provider, without the excluded candidates."""
    hits = []
    for row, targets, excluded in zip(scores, dataset.targets, dataset.excluded, strict=True):
        order = [c for c in np.argsort(-row) if c not in excluded]
        hits.append(targets[0] in order[:k])
    return np.mean(hits)


def test_singles_equal_a_naive_loop(problem):
    dataset, stack = problem
    evaluations = evaluate_providers(stack, dataset, metrics=["recall@1", "recall@5"])
    for name, matrix in zip(stack.names, stack.matrices, strict=True):
        assert evaluations[name].values == {
            "recall@1": pytest.approx(naive_recall(dataset, matrix, 1)),
            "recall@5": pytest.approx(naive_recall(dataset, matrix, 5)),
        }


def test_frame_has_ids_groups_and_a_float_column_per_metric(problem):
    dataset, stack = problem
    frame = evaluate("model-0", stack, dataset).frame
    assert frame.columns == ["query_id", "group", *dataset.metrics]
    assert frame["query_id"].to_list() == list(dataset.query_ids)
    assert all(frame[m].dtype == pl.Float64 for m in dataset.metrics)


def test_alignment_is_by_id(problem, rng):
    dataset, stack = problem
    moved = stack.take_gallery(rng.permutation(stack.gallery_ids).tolist())
    moved = moved.take_queries(rng.permutation(stack.query_ids).tolist())
    assert evaluate("model-1", moved, dataset).frame.equals(
        evaluate("model-1", stack, dataset).frame
    )


def test_tiles_do_not_matter(problem, monkeypatch):
    dataset, stack = problem
    whole = evaluate("model-0", stack, dataset).frame
    monkeypatch.setattr("dafm_core.store.stack.TILE_BYTES", 1)
    assert evaluate("model-0", stack, dataset).frame.equals(whole)


def test_a_run_scores_like_its_fuser(problem):
    dataset, stack = problem
    fuser = Sum().fit(stack)
    direct = evaluate(fuser, stack, dataset, allow_fitted=True)
    assert evaluate_run(fuser.fuse(stack), dataset).frame.equals(direct.frame)


def test_exclusions_hold_even_where_a_run_does_not_mark_them(problem):
    dataset, stack = problem
    matrix = np.array(stack.matrices[0])
    matrix[dataset.excluded.rows, dataset.excluded.values] = 99.0
    run = Run("loud", stack.query_ids, stack.gallery_ids, matrix)
    assert evaluate_run(run, dataset).frame.equals(evaluate("model-0", stack, dataset).frame)
    assert (matrix[dataset.excluded.rows, dataset.excluded.values] == 99.0).all()


def test_fitted_queries_are_refused_unless_asked_for(problem):
    dataset, stack = problem
    fit, held_out = dataset.split(test_size=0.5, seed=0)
    fuser = Sum().fit(stack, fit)
    with pytest.raises(LeakageError, match=r"that it was, e\.g\."):
        evaluate(fuser, stack, dataset)
    assert evaluate(fuser, stack, held_out).frame.height == held_out.n_queries
    assert evaluate(fuser, stack, dataset, allow_fitted=True).frame.height == dataset.n_queries


def test_a_query_without_target_is_named(problem):
    dataset, stack = problem
    lists = dataset.queries["targets"].to_list()
    lists[7] = []
    frame = dataset.queries.with_columns(pl.Series("targets", lists, dtype=pl.List(pl.String)))
    with pytest.raises(DatasetError, match="query 'q7' has no target"):
        evaluate("model-0", stack, replace(dataset, queries=frame))


def test_a_target_outside_the_gallery_is_never_retrieved(problem):
    dataset, stack = problem
    lists = dataset.queries["targets"].to_list()
    lists[7] = ["elsewhere"]
    frame = dataset.queries.with_columns(pl.Series("targets", lists, dtype=pl.List(pl.String)))
    changed = replace(dataset, queries=frame)
    assert evaluate("model-0", stack, changed, metrics=["recall@500"]).per_query[7, 0] == 0.0


def test_a_metric_that_needs_subsets_says_who_has_none(problem):
    dataset, stack = problem
    lists = dataset.queries["subset"].to_list()
    lists[3] = []
    frame = dataset.queries.with_columns(pl.Series("subset", lists, dtype=pl.List(pl.String)))
    with pytest.raises(DatasetError, match="'q3' has no subset, which rsubset@1 ranks"):
        evaluate("model-0", stack, replace(dataset, queries=frame))


def test_what_does_not_agree_is_refused(problem):
    dataset, stack = problem
    with pytest.raises(AlignmentError, match="protocol"):
        evaluate("model-0", stack, replace(dataset, protocol="other"))
    with pytest.raises(AlignmentError, match="candidates"):
        evaluate("model-0", stack.take_gallery(stack.gallery_ids[:-1]), dataset)
    with pytest.raises(AlignmentError, match="did you mean 'model-0'"):
        evaluate("model0", stack, dataset)
    run = Run("short", stack.query_ids[:5], stack.gallery_ids, np.zeros((5, stack.n_gallery)))
    with pytest.raises(AlignmentError, match="no scores for query"):
        evaluate_run(run, dataset)
    with pytest.raises(OptionError, match="unknown metric"):
        evaluate("model-0", stack, dataset, metrics=["precision"])


def test_parts_combine_in_the_datasets_order(problem):
    dataset, stack = problem
    parts = dataset.split(test_size=0.3, seed=1)
    evaluations = [evaluate("model-2", stack, part) for part in parts]
    whole = evaluate("model-2", stack, dataset)
    assert combine("model-2", evaluations, dataset).frame.equals(whole.frame)


def test_oracle_is_the_best_per_query(problem):
    dataset, stack = problem
    singles = evaluate_providers(stack, dataset)
    best = oracle(singles)
    assert (best.per_query >= singles["model-0"].per_query).all()
    assert best.values["recall@1"] >= max(e.values["recall@1"] for e in singles.values())


def test_mean_over_protocols_is_unweighted(make_problem):
    evaluations = []
    for n in (20, 60):
        dataset, stack = make_problem(n_queries=n)
        evaluations.append(evaluate("model-0", stack, dataset))
    a, b = (e.values["recall@1"] for e in evaluations)
    assert mean_over_protocols(evaluations)["recall@1"] == pytest.approx((a + b) / 2)
