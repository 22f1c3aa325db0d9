"""What is right, in columns; and where it stands, against sorting by hand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.errors import DatasetError
from dafm_core.metrics.ranking import Places
from dafm_core.metrics.spec import parse_metrics
from dafm_core.metrics.truth import Truth, require_truth


@pytest.fixture
def problem(make_problem):
    dataset, stack = make_problem(n_targets=2)
    return dataset, np.array(stack.matrices[0])


def with_lists(dataset, name, change):
    lists = dataset.queries[name].to_list()
    lists = [change(i, ids) for i, ids in enumerate(lists)]
    series = pl.Series(name, lists, dtype=pl.List(pl.String))
    return replace(dataset, queries=dataset.queries.with_columns(series))


def same(places, others):
    for kind in ("gallery", "subset", "first"):
        one, other = getattr(places, kind), getattr(others, kind)
        for name, array in vars(one).items():
            np.testing.assert_array_equal(array, getattr(other, name), err_msg=name)


def naive_ranks(dataset, scores, candidates):
    """Count, for every target of every query, the candidates with a higher score."""
    ranks = []
    for row, targets, excluded, among in zip(
        scores, dataset.targets, dataset.excluded, candidates, strict=True
    ):
        kept = [c for c in among if c not in excluded]
        ranks += [sum(row[c] > row[target] for c in kept) for target in targets]
    return ranks


def test_places_are_counts_of_higher_scores_in_the_gallery_and_in_the_subset(problem):
    dataset, scores = problem
    places = Truth.of(dataset).places(scores)
    everyone = [range(dataset.n_gallery)] * dataset.n_queries
    assert places.gallery.greater.tolist() == naive_ranks(dataset, scores, everyone)
    assert places.subset.greater.tolist() == naive_ranks(dataset, scores, dataset.subsets)


def test_excluded_cells_are_removed_and_the_scores_given_are_left_alone(problem):
    dataset, scores = problem
    loud = scores.copy()
    loud[dataset.excluded.rows, dataset.excluded.values] = 99.0
    before = loud.copy()
    truth = Truth.of(dataset)
    same(truth.places(loud), truth.places(scores))
    np.testing.assert_array_equal(loud, before)


@pytest.mark.parametrize("size", [1, 7, 60])
def test_parts_concatenate_to_the_whole(problem, size):
    dataset, scores = problem
    truth = Truth.of(dataset)
    parts = [slice(start, min(start + size, 60)) for start in range(0, 60, size)]
    joined = Places.concatenate([truth.part(rows).places(scores[rows]) for rows in parts])
    same(joined, truth.places(scores))


def test_a_measure_is_each_metric_of_the_places(problem):
    dataset, scores = problem
    metrics = parse_metrics(["recall@5", "rsubset@1", "first@3", "mrr"])
    truth = Truth.of(dataset)
    values = truth.measure(scores, metrics)
    places = truth.places(scores)
    assert values.shape == (60, 4)
    for m, metric in enumerate(metrics):
        np.testing.assert_array_equal(values[:, m], metric(places))


def test_a_target_that_is_named_twice_counts_once(problem):
    dataset, scores = problem
    twice = with_lists(dataset, "targets", lambda i, ids: [ids[0], *ids])
    metrics = parse_metrics(["recall@5", "map@10"])
    np.testing.assert_array_equal(
        Truth.of(twice).measure(scores, metrics), Truth.of(dataset).measure(scores, metrics)
    )


def test_a_target_outside_the_gallery_counts_as_never_retrieved(problem):
    dataset, scores = problem
    one = with_lists(dataset, "targets", lambda i, ids: [ids[0]])
    more = with_lists(dataset, "targets", lambda i, ids: [ids[0], "elsewhere"])
    metrics = parse_metrics(["map@40"])
    assert Truth.of(more).n_targets.tolist() == [2] * 60
    np.testing.assert_allclose(
        Truth.of(more).measure(scores, metrics), Truth.of(one).measure(scores, metrics) / 2
    )


def test_the_first_named_target_is_ranked_as_if_it_were_the_only_one(problem):
    dataset, scores = problem
    one = with_lists(dataset, "targets", lambda i, ids: ids[:1])
    first, alone = Truth.of(dataset).places(scores).first, Truth.of(one).places(scores).gallery
    for name, array in vars(first).items():
        np.testing.assert_array_equal(array, getattr(alone, name), err_msg=name)
    lost = with_lists(dataset, "targets", lambda i, ids: ["elsewhere", *ids] if i == 5 else ids)
    values = Truth.of(lost).measure(scores, parse_metrics(["first@40"]))
    assert np.flatnonzero(values[:, 0] == 0).tolist() == [5]  # not another target in its place


def test_there_are_no_subset_places_where_a_query_has_no_subset(problem):
    dataset, scores = problem
    truth = Truth.of(with_lists(dataset, "subset", lambda i, ids: [] if i == 3 else ids))
    assert truth.places(scores).subset is None
    assert Truth.of(dataset).places(scores, only=()).subset is None
    parts = [truth.part(slice(0, 3)), truth.part(slice(3, 60))]
    pieces = [parts[0].places(scores[:3]), parts[1].places(scores[3:])]
    assert pieces[0].subset is not None
    assert Places.concatenate(pieces).subset is None


def test_what_is_required_is_named_by_query_and_counted(problem):
    dataset, _ = problem
    metrics = parse_metrics(["recall@1", "rsubset@2"])
    require_truth(dataset, Truth.of(dataset), metrics)
    blind = with_lists(dataset, "targets", lambda i, ids: [] if i in (7, 9) else ids)
    with pytest.raises(DatasetError, match=r"toy-val: query 'q7' has no target.*2 of 60"):
        require_truth(blind, Truth.of(blind), [])
    bare = with_lists(dataset, "subset", lambda i, ids: [] if i == 4 else ids)
    require_truth(bare, Truth.of(bare), metrics[:1])
    with pytest.raises(DatasetError, match=r"'q4' has no subset, which rsubset@2 ranks"):
        require_truth(bare, Truth.of(bare), metrics)
