"""Audits: what each would say of a stack made to be caught."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from dafm_core.comparison.audit import (
    audit,
    headroom,
    redundancy,
    resolution,
)
from dafm_core.comparison.gallery_order import Order, _chance_adjacent, gallery_order
from dafm_core.evaluation.evaluate import evaluate_providers
from dafm_core.ground.statistics import Resampler
from dafm_core.store.stack import SimilarityStack


@pytest.fixture
def problem(make_problem):
    return make_problem(n_queries=120)


def with_gallery(dataset, ids):
    return replace(dataset, gallery_ids=tuple(ids))


def test_order_tells_where_relatives_are_neighbours(make_problem):
    dataset, _ = make_problem(n_queries=200, n_gallery=400)
    assert not gallery_order(dataset).is_telling
    sets = [f"{kind}{s}" for s in range(200) for kind in "rt"]
    queries = dataset.queries.to_dicts()
    for i, row in enumerate(queries):
        row |= {"references": [f"r{i}"], "targets": [f"t{i}"], "subset": [], "excluded": [f"r{i}"]}
    paired = replace(
        with_gallery(dataset, sets),
        queries=type(dataset.queries)(queries, schema=dataset.queries.schema),
    )
    order = gallery_order(paired)
    assert order.adjacent == 1.0
    assert order.chance == pytest.approx(2 / 400, rel=0.01)
    assert "a filter along the file would cheat" in order.words


def test_chance_of_adjacency_is_what_shuffling_gives(problem, rng):
    dataset, _ = problem
    found = [
        gallery_order(with_gallery(dataset, rng.permutation(dataset.gallery_ids).tolist())).adjacent
        for _ in range(60)
    ]
    assert gallery_order(dataset).chance == pytest.approx(np.mean(found), abs=0.02)


@pytest.mark.parametrize("n", range(1, 8))
def test_chance_of_adjacency_is_that_of_every_arrangement(n):
    for m in range(n):
        near = [
            target - 1 in related or target + 1 in related
            for target in range(n)
            for related in combinations([place for place in range(n) if place != target], m)
        ]
        assert _chance_adjacent(n, m) == pytest.approx(np.mean(near))


def test_order_tells_only_where_it_is_both_often_and_more_than_by_chance():
    assert Order(0.76, 0.25).is_telling
    assert not Order(0.75, 0.25).is_telling  # three times is not yet more than three times
    assert Order(0.011, 0.0).is_telling
    assert not Order(0.010, 0.0).is_telling  # one query in a hundred


def test_order_changes_are_put_into_words():
    words = Order(0.5, 0.01, {"paper": {"recall@1": 0.001, "recall@10": 0.021}}).words
    assert "paper depends on the order: +2.10 points of R@10 vanish" in words
    assert "light does not depend" in Order(0.5, 0.01, {"light": {"recall@1": 0.0}}).words


def test_headroom_counts_unique_solves_and_shared_errors(problem):
    _, stack = problem
    singles = evaluate_providers(stack)
    found = headroom(singles)
    solved = {name: e.frame["recall@1"].to_numpy() == 1 for name, e in singles.items()}
    others = solved["model-1"] | solved["model-2"]
    assert found.unique_solves["model-0"] == pytest.approx((solved["model-0"] & ~others).mean())
    failed = [~solved["model-0"], ~solved["model-1"]]
    overlap = (failed[0] & failed[1]).sum() / (failed[0] | failed[1]).sum()
    assert found.error_overlap["model-0 & model-1"] == pytest.approx(overlap)
    assert found.oracle["recall@1"] == pytest.approx((solved["model-0"] | others).mean())


def test_redundancy_is_the_mean_rank_correlation_of_the_rows(problem):
    dataset, stack = problem
    matrices = dict(zip(stack.names, map(np.round, stack.matrices), strict=True))  # with ties
    pairs = redundancy(SimilarityStack.from_matrices(matrices, dataset))
    for a, b in combinations(stack.names, 2):
        expected = [
            spearmanr(np.delete(one, excluded), np.delete(other, excluded)).statistic
            for one, other, excluded in zip(matrices[a], matrices[b], dataset.excluded, strict=True)
        ]
        assert pairs[f"{a} & {b}"] == pytest.approx(np.mean(expected))


def test_a_copy_is_redundant_and_leaves_no_headroom(problem):
    dataset, stack = problem
    first = np.asarray(stack.matrices[0])
    matrices = {"a": first, "b": 2 * first + 1, "c": -first, "d": 0 * first}
    twins = SimilarityStack.from_matrices(matrices, dataset)
    pairs = redundancy(twins)
    assert pairs["a & b"] == pytest.approx(1)
    assert pairs["a & c"] == pytest.approx(-1)
    assert pairs["a & d"] == pytest.approx(0)
    found = headroom(evaluate_providers(twins.select(["a", "b"])))
    assert found.error_overlap["a & b"] == 1.0
    assert found.unique_solves == {"a": 0.0, "b": 0.0}


def test_ties_show_what_the_rule_is_worth(problem):
    dataset, stack = problem
    first = np.asarray(stack.matrices[0])
    matrices = {"flat": 0 * first, "fine": first}
    found = audit(SimilarityStack.from_matrices(matrices, dataset)).ties
    n = dataset.n_gallery - 1
    assert found["flat"].tied_share == found["flat"].lenient == 1.0
    assert found["flat"].strict == 0.0
    assert found["flat"].expected == pytest.approx(1 / n)
    assert found["fine"].tied_share == 0.0
    assert found["fine"].strict == found["fine"].expected == found["fine"].lenient


def test_ties_count_targets_that_lose_win_or_draw_lots_at_the_top(problem):
    """Against a loop over the rows of a matrix in which some targets are tied and most are not."""
    dataset, stack = problem
    coarse = np.round(np.asarray(stack.matrices[0]))
    found = audit(SimilarityStack.from_matrices({"coarse": coarse}, dataset)).ties["coarse"]
    tied, strict, expected, lenient = [], [], [], []
    for row, (target,), excluded in zip(coarse, dataset.targets, dataset.excluded, strict=True):
        others = np.delete(row, [target, *excluded])
        above, level = (others > row[target]).sum(), (others == row[target]).sum()
        tied.append(level > 0)
        strict.append(above == 0 and level == 0)
        expected.append(1 / (1 + level) if above == 0 else 0)
        lenient.append(above == 0)
    assert 0 < np.mean(strict) < np.mean(lenient) < 1
    assert found.tied_share == pytest.approx(np.mean(tied))
    assert found.strict == pytest.approx(np.mean(strict))
    assert found.expected == pytest.approx(np.mean(expected))
    assert found.lenient == pytest.approx(np.mean(lenient))


def test_resolution_matches_the_textbook(problem):
    dataset, stack = problem
    found = resolution(evaluate_providers(stack), dataset)
    assert found.half_width == pytest.approx(1.96 * np.sqrt(0.1 / 120))
    assert found.n_groups == 30
    effect = max(1, found.design_effect)
    assert found.clustered_half_width == pytest.approx(found.half_width * effect**0.5)


def test_the_design_effect_is_that_of_the_two_best_on_the_headline(problem):
    dataset, stack = problem
    singles = evaluate_providers(stack)
    first, second, third = sorted(singles.values(), key=lambda e: -e.values["recall@1"])
    assert third.values["recall@1"] < second.values["recall@1"]
    difference = (first.frame["recall@1"] - second.frame["recall@1"]).to_numpy()
    effect = Resampler(dataset.groups).design_effect(difference)
    assert resolution(singles, dataset).design_effect == pytest.approx(effect)


def test_groups_that_go_less_together_than_chance_do_not_narrow_the_bound(problem):
    """Half of every group is won, half is lost: sums of groups are all zero."""
    dataset, stack = problem
    singles = {name: evaluate_providers(stack)[name] for name in stack.names[:2]}
    metric = next(iter(singles.values())).metrics[0]
    swing = pl.Series(metric, [0.75 + 0.25 * (-1) ** i for i in range(stack.n_queries)])
    level = pl.Series(metric, np.full(stack.n_queries, 0.75))
    tables = zip(singles.items(), (swing, level), strict=True)
    swung = {n: replace(e, frame=e.frame.with_columns(column)) for (n, e), column in tables}
    found = resolution(swung, dataset)
    assert found.design_effect == pytest.approx(0)
    assert found.clustered_half_width == found.half_width


def test_models_that_agree_on_every_query_measure_no_design_effect(problem):
    dataset, stack = problem
    same = np.asarray(stack.matrices[0])
    matrices = {"a": same, "b": same.copy()}
    twins = evaluate_providers(SimilarityStack.from_matrices(matrices, dataset))
    assert resolution(twins, dataset).design_effect is None


def test_one_provider_without_subsets_is_defined(problem):
    dataset, stack = problem
    queries = dataset.queries.to_dicts()
    for row in queries:
        row |= {"subset": [], "excluded": []}
    bare = replace(dataset, queries=type(dataset.queries)(queries, schema=dataset.queries.schema))
    alone = SimilarityStack.from_matrices({"model-0": stack.matrices[0]}, bare)
    found = audit(alone, metrics=["recall@1"])
    assert found.redundancy == {}
    assert found.headroom.error_overlap == {}
    assert found.resolution.design_effect is None  # it takes two models to measure one
    assert found.resolution.clustered_half_width is None
    assert found.resolution.half_width > 0
    json.dumps(found.to_json(), allow_nan=False)
