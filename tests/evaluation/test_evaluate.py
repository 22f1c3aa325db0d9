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
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.static import MeanFusion
from dafm_core.store.run import Run


class Sum(Fuser):
    """The plainest fuser: adds raw scores."""

    learns = True

    def _scorer(self, gallery):
        return lambda tile: tile.sum(1)


@pytest.fixture
def problem(make_problem):
    return make_problem()


def with_lists(stack, name, row, ids):
    """Return the stack with another list of ids for one query."""
    lists = stack.dataset.queries[name].to_list()
    lists[row] = ids
    series = pl.Series(name, lists, dtype=pl.List(pl.String))
    queries = stack.dataset.queries.with_columns(series)
    return replace(stack, dataset=replace(stack.dataset, queries=queries))


def naive_recall(dataset, scores, k):
    """Sort every row of one provider, without the excluded candidates."""
    hits = []
    for row, targets, excluded in zip(scores, dataset.targets, dataset.excluded, strict=True):
        order = [c for c in np.argsort(-row) if c not in excluded]
        hits.append(targets[0] in order[:k])
    return np.mean(hits)


def test_singles_equal_a_naive_loop(problem):
    dataset, stack = problem
    evaluations = evaluate_providers(stack, metrics=["recall@1", "recall@5"])
    for name, matrix in zip(stack.names, stack.matrices, strict=True):
        assert evaluations[name].values == {
            "recall@1": pytest.approx(naive_recall(dataset, matrix, 1)),
            "recall@5": pytest.approx(naive_recall(dataset, matrix, 5)),
        }


def test_frame_has_ids_groups_and_a_float_column_per_metric(problem):
    dataset, stack = problem
    frame = evaluate("model-0", stack).frame
    assert frame.columns == ["query_id", "group", *dataset.metrics]
    assert frame["query_id"].to_list() == list(dataset.query_ids)
    assert all(frame[m].dtype == pl.Float64 for m in dataset.metrics)


def test_alignment_is_by_id(problem, rng):
    dataset, stack = problem
    moved = stack.take_gallery(rng.permutation(stack.gallery_ids).tolist())
    moved = moved.take_queries(rng.permutation(stack.query_ids).tolist())
    found = evaluate("model-1", moved)
    assert found.frame["query_id"].to_list() == list(moved.query_ids)
    whole = evaluate("model-1", stack)
    assert combine("model-1", [found], dataset).frame.equals(whole.frame)


def test_a_name_alone_is_what_all_providers_together_give(problem):
    _, stack = problem
    together = evaluate_providers(stack)
    assert list(together) == list(stack.names)
    for name in stack.names:
        assert evaluate(name, stack).frame.equals(together[name].frame)


def test_tiles_do_not_matter(problem, monkeypatch):
    _, stack = problem
    whole = evaluate("model-0", stack).frame
    fused = evaluate(MeanFusion(), stack).frame
    monkeypatch.setattr("dafm_core.store.stack.TILE_BYTES", 1)
    assert evaluate("model-0", replace(stack)).frame.equals(whole)
    assert evaluate(MeanFusion(), stack).frame.equals(fused)


def test_a_run_scores_like_its_fuser(problem):
    dataset, stack = problem
    fuser = Sum().fit(stack)
    direct = evaluate(fuser, stack, allow_fitted=True)
    run = fuser.fuse(stack)
    assert evaluate_run(run, dataset, allow_fitted=True).frame.equals(direct.frame)


def test_a_run_is_read_by_id(problem, rng):
    dataset, stack = problem
    run = MeanFusion().fuse(stack)
    rows, columns = rng.permutation(60), rng.permutation(40)
    moved = Run(
        "moved",
        [run.query_ids[row] for row in rows],
        [run.gallery_ids[column] for column in columns],
        run.scores[np.ix_(rows, columns)],
    )
    part = dataset.take(dataset.query_ids[5:20])
    expected = evaluate(MeanFusion(), stack.take_queries(part.query_ids))
    assert evaluate_run(moved, part).frame.equals(expected.frame)


def test_a_run_with_a_score_for_subsets_is_measured_by_both(problem):
    dataset, stack = problem
    run = MeanFusion().fuse(stack)
    one = evaluate_run(run, dataset)
    two = evaluate_run(replace(run, subset_scores=-run.scores), dataset)
    assert (one.heads, two.heads) == (("gallery",), ("gallery", "subset"))
    shared = ["recall@1", "recall@5"]
    assert two.frame.select(shared).equals(one.frame.select(shared))
    flipped = evaluate_run(replace(run, scores=-run.scores), dataset)
    assert two.frame["rsubset@1"].equals(flipped.frame["rsubset@1"])


def test_exclusions_hold_even_where_a_run_does_not_mark_them(problem):
    dataset, stack = problem
    matrix = np.array(stack.matrices[0])
    matrix[dataset.excluded.rows, dataset.excluded.values] = 99.0
    run = Run("loud", stack.query_ids, stack.gallery_ids, matrix)
    assert evaluate_run(run, dataset).frame.equals(evaluate("model-0", stack).frame)
    assert (matrix[dataset.excluded.rows, dataset.excluded.values] == 99.0).all()


def test_fitted_queries_are_refused_unless_asked_for(problem):
    _, stack = problem
    fit, held_out = stack.split(test_size=0.5, seed=0)
    fuser = Sum().fit(fit)
    said = rf"Sum: .* got {fit.n_queries} of 60 that it was, e\.g\."
    with pytest.raises(LeakageError, match=said):
        evaluate(fuser, stack)
    assert evaluate(fuser, held_out).frame.height == held_out.n_queries
    assert evaluate(fuser, stack, allow_fitted=True).frame.height == 60


def test_a_run_refuses_queries_its_fuser_was_fitted_on_unless_asked_for(problem):
    dataset, stack = problem
    fit, held_out = stack.split(test_size=0.5, seed=0)
    run = Sum().fit(fit).fuse(stack, name="sum")
    assert run.fitted_query_ids == set(fit.query_ids)
    with pytest.raises(LeakageError, match=rf"run 'sum': .* got {fit.n_queries} of 60"):
        evaluate_run(run, dataset)
    assert evaluate_run(run, held_out.dataset).frame.height == held_out.n_queries
    assert evaluate_run(run, dataset, allow_fitted=True).frame.height == 60
    static = MeanFusion(normalize="zscore").fit(fit).fuse(stack)  # a fit that learned nothing
    assert evaluate_run(static, dataset).frame.height == 60


def test_a_query_without_target_is_named(problem):
    _, stack = problem
    blind = with_lists(stack, "targets", 7, [])
    for fuser in ("model-0", MeanFusion()):
        with pytest.raises(DatasetError, match="query 'q7' has no target"):
            evaluate(fuser, blind)


def test_a_target_outside_the_gallery_is_never_retrieved(problem):
    _, stack = problem
    changed = with_lists(stack, "targets", 7, ["elsewhere"])
    for fuser in ("model-0", MeanFusion()):
        assert evaluate(fuser, changed, metrics=["recall@500"]).per_query[7, 0] == 0.0


def test_a_metric_that_needs_subsets_says_who_has_none(problem):
    _, stack = problem
    bare = with_lists(stack, "subset", 3, [])
    with pytest.raises(DatasetError, match="'q3' has no subset, which rsubset@1 ranks"):
        evaluate("model-0", bare)
    found = evaluate("model-0", bare, metrics=["recall@1"])
    assert found.frame.equals(evaluate("model-0", stack, metrics=["recall@1"]).frame)


def test_what_does_not_agree_is_refused(problem):
    dataset, stack = problem
    with pytest.raises(AlignmentError, match="did you mean 'model-0'"):
        evaluate("model0", stack)
    with pytest.raises(AlignmentError, match="expected providers model-0, model-1, model-2, got"):
        evaluate(MeanFusion(normalize="zscore").fit(stack), stack.select(["model-0"]))
    scores = np.zeros((60, stack.n_gallery), np.float32)
    short = Run("short", stack.query_ids[:5], stack.gallery_ids, scores[:5])
    with pytest.raises(AlignmentError, match=r"run 'short': no query 'q5'.* \(55 of 60 are unkn"):
        evaluate_run(short, dataset)
    narrow = Run("narrow", stack.query_ids, stack.gallery_ids[:-1], scores[:, 1:])
    with pytest.raises(AlignmentError, match="run 'narrow': no gallery image 'img39'"):
        evaluate_run(narrow, dataset)
    wide = Run("wide", stack.query_ids, stack.gallery_ids, scores)
    with pytest.raises(AlignmentError, match="toy-val's 39 candidates, got 40"):
        evaluate_run(wide, dataset.take_gallery(dataset.gallery_ids[:-1]))
    with pytest.raises(OptionError, match="unknown metric"):
        evaluate("model-0", stack, metrics=["precision"])


def test_parts_combine_in_the_datasets_order(problem):
    dataset, stack = problem
    parts = stack.split(test_size=0.3, seed=1)
    evaluations = [evaluate("model-2", part) for part in parts]
    whole = evaluate("model-2", stack)
    assert combine("model-2", evaluations, dataset).frame.equals(whole.frame)


def test_oracle_is_the_best_per_query(problem):
    _, stack = problem
    singles = evaluate_providers(stack)
    best = oracle(singles)
    means = np.stack([single.mean_per_query for single in singles.values()])
    np.testing.assert_array_equal(best.mean_per_query, means.max(axis=0))


def test_oracle_takes_all_metrics_of_a_query_from_one_model(make_problem):
    """Its Rmean is that of its R@5 and Rs@1: not a best of each, of which no ranking has all."""
    _, stack = make_problem(n_queries=200, noise=(2.0, 2.5))
    metrics = ["recall@1", "recall@5", "rsubset@1", "rmean"]
    singles = evaluate_providers(stack, metrics=metrics)
    best = oracle(singles)
    rows = np.stack([single.per_query for single in singles.values()])
    assert (best.per_query == rows).all(axis=2).any(axis=0).all()
    bests = rows.max(axis=0)
    assert (best.per_query <= bests).all()
    assert (best.per_query < bests).any()  # else the problem would tell nothing
    assert best.values["rmean"] == pytest.approx(
        (best.values["recall@5"] + best.values["rsubset@1"]) / 2
    )


def test_a_mean_of_metrics_counts_no_metric_twice(make_problem):
    """Rmean is the mean of R@5 and Rs@1: beside them it adds nothing."""
    _, stack = make_problem()
    parts = ["recall@1", "recall@5", "rsubset@1"]
    plain = evaluate("model-0", stack, metrics=parts)
    both = evaluate("model-0", stack, metrics=[*parts, "rmean"])
    np.testing.assert_array_equal(both.mean_per_query, plain.mean_per_query)
    np.testing.assert_allclose(plain.mean_per_query, plain.per_query.mean(axis=1))
    alone = evaluate("model-0", stack, metrics=["recall@5", "rmean"])  # Rs@1 is not there
    np.testing.assert_allclose(alone.mean_per_query, alone.per_query.mean(axis=1))


def test_mean_over_protocols_is_unweighted(make_problem):
    evaluations = []
    for n in (20, 60):
        _, stack = make_problem(n_queries=n)
        evaluations.append(evaluate("model-0", stack))
    a, b = (e.values["recall@1"] for e in evaluations)
    assert mean_over_protocols(evaluations)["recall@1"] == pytest.approx((a + b) / 2)


def test_means_by_tag_are_those_of_the_queries_that_have_it(problem):
    dataset, stack = problem
    tags = [["odd"] * (i % 2) + ["third"] * (i % 3 == 0) for i in range(dataset.n_queries)]
    series = pl.Series("tags", tags, dtype=pl.List(pl.String))
    tagged = replace(stack, dataset=replace(dataset, queries=dataset.queries.with_columns(series)))
    evaluation = evaluate_providers(tagged)["model-0"]
    values = evaluation.frame["recall@1"].to_numpy()
    assert evaluation.by_tag("recall@1") == {
        "odd": pytest.approx(values[1::2].mean()),
        "third": pytest.approx(values[::3].mean()),
    }
    plain = evaluate_providers(stack)["model-0"]
    assert plain.by_tag("recall@1") == {}
    assert plain.values == evaluation.values
    with pytest.raises(OptionError, match="metric 'recall@2'; did you mean 'recall@"):
        evaluation.by_tag("recall@2")
