"""ndcg@K by the targets' grades: by hand, over every order of ties, and against ir_measures."""

from dataclasses import replace
from itertools import permutations
from math import log2

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.metrics.spec import parse_metrics
from dafm_core.metrics.truth import Places, Truth


def graded(targets, grades, n_gallery=6):
    rows = [
        {"query_id": f"q{i}", "reference": "c0", "text": "t", "targets": ids, "grades": given}
        for i, (ids, given) in enumerate(zip(targets, grades, strict=True))
    ]
    gallery = [f"c{i}" for i in range(n_gallery)]
    return Dataset(protocol="toy", gallery_ids=gallery, queries=query_frame(rows, where="toy"))


def ndcg(dataset, scores, k):
    return Truth.of(dataset).measure(np.asarray(scores, float), parse_metrics([f"ndcg@{k}"]))[:, 0]


def naive(order, grades, k):
    """The definition, for one strict ranking of names."""
    gains = sorted(grades.values(), reverse=True)[:k]
    ideal = sum(g / log2(place + 2) for place, g in enumerate(gains))
    return sum(grades.get(c, 0) / log2(p + 2) for p, c in enumerate(order[:k])) / ideal


def test_by_hand():
    """Grades 3 at rank 2 and 1 at rank 1, a third target of grade 2 outside the gallery."""
    dataset = graded([["c1", "c0", "far"]], [[3.0, 1.0, 2.0]])
    ideal = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    got = ndcg(dataset, [[6, 5, 4, 3, 2, 1]], 5)
    assert got == pytest.approx([(1 / log2(2) + 3 / log2(3)) / ideal])
    assert ndcg(dataset, [[6, 5, 4, 3, 2, 1]], 1) == pytest.approx([1 / 3])


def test_without_grades_every_target_counts_one():
    dataset = graded([["c1", "c3"], ["c0"]], [None, None])
    scores = [[6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6]]
    ideal = 1 / log2(2) + 1 / log2(3)
    expected = [(1 / log2(3) + 1 / log2(5)) / ideal, 0.0]
    np.testing.assert_allclose(ndcg(dataset, scores, 5), expected)


def test_a_query_without_grades_beside_one_that_has_them_counts_one():
    both = graded([["c1", "c3"], ["c1", "c3"]], [[2.0, 1.0], None])
    alone = graded([["c1", "c3"]], [None])
    scores = [[6, 5, 4, 3, 2, 1]] * 2
    assert ndcg(both, scores, 5)[1] == pytest.approx(ndcg(alone, scores[:1], 5)[0])


@given(
    scores=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=5, max_size=5),
    grades=st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=1, max_size=3),
    k=st.integers(1, 7),
)
def test_it_is_the_mean_over_all_orders_of_ties(scores, grades, k):
    names = [f"c{i}" for i in range(5)]
    by_name = dict(zip(names, grades, strict=False))
    orders = {tuple(sorted(p, key=lambda c: -scores[int(c[1])])) for p in permutations(names)}
    expected = np.mean([naive(order, by_name, k) for order in orders])
    dataset = graded([list(by_name)], [grades], n_gallery=5)
    assert ndcg(dataset, [scores], k)[0] == pytest.approx(expected)


@pytest.fixture
def problem(make_problem, rng):
    """Tie-free rows with two targets a query, of grades 1 to 3."""
    dataset, stack = make_problem(n_targets=2)
    grades = rng.integers(1, 4, (60, 2)).astype(float).tolist()
    series = pl.Series("grades", grades, dtype=pl.List(pl.Float64))
    return replace(dataset, queries=dataset.queries.with_columns(series)), stack


def test_agrees_with_ir_measures(problem):
    import ir_measures
    from ir_measures import nDCG

    dataset, stack = problem
    scores = np.array(stack.matrices[0], np.float64)
    scores[dataset.excluded.rows, dataset.excluded.values] = -np.inf
    columns = dataset.queries.select("query_id", "targets", "grades").iter_rows()
    qrels = {q: {t: int(g) for t, g in zip(ts, gs, strict=True)} for q, ts, gs in columns}
    run = {
        query: {c: float(s) for c, s in zip(dataset.gallery_ids, row, strict=True) if s > -np.inf}
        for query, row in zip(dataset.query_ids, scores, strict=True)
    }
    expected = ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]
    assert ndcg(dataset, scores, 10).mean() == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 7])
def test_tiles_concatenate_to_the_whole(problem, size):
    dataset, stack = problem
    truth, scores = Truth.of(dataset), np.asarray(stack.matrices[0])
    metric = parse_metrics(["ndcg@5"])[0]
    tiles = [slice(start, min(start + size, 60)) for start in range(0, 60, size)]
    joined = Places.concatenate([truth.part(rows).places(scores[rows]) for rows in tiles])
    np.testing.assert_array_equal(metric(joined), metric(truth.places(scores)))
    np.testing.assert_array_equal(metric(joined), metric(stack_places(stack, dataset)))


def stack_places(stack, dataset):
    return replace(stack, dataset=dataset).single_places["model-0"]


def test_a_target_that_stands_twice_counts_the_most_it_is_given():
    twice = graded([["c1", "c2", "c1"]], [[1.0, 2.0, 3.0]])
    once = graded([["c1", "c2"]], [[3.0, 2.0]])
    scores = [[1, 5, 6, 2, 3, 4]]
    assert ndcg(twice, scores, 5) == pytest.approx(ndcg(once, scores, 5))


def test_as_many_known_as_are_looked_at_decide_it():
    dataset = graded([["c1", "c4", "c5"]], [[1.0, 2.0, 3.0]])
    scores, unknown = np.array([[9.0, 8, 7, 0, 0, 0]]), np.arange(6)[None] > 2
    values = Truth.of(dataset).measure(
        scores, parse_metrics(["ndcg@3", "ndcg@4"]), unknown=unknown
    )[0]
    assert values[0] == pytest.approx(naive(["c0", "c1", "c2"], {"c1": 1, "c4": 2, "c5": 3}, 3))
    assert np.isnan(values[1])
