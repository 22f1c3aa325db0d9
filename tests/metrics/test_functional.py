"""Metrics against every order of the ties, against ranx and ir_measures, and their laws."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dafm_core.ground.ragged import Ragged
from dafm_core.metrics.functional import average_precision, hit, recall, reciprocal_rank
from dafm_core.metrics.ranking import rank_targets


def naive(ranking, targets, k):
    """Metrics of one strict ranking of column numbers."""
    found = [i for i, column in enumerate(ranking) if column in targets]
    top = [i for i in found if i < k]
    precisions = [(n + 1) / (place + 1) for n, place in enumerate(top)]
    return {
        "recall": len(top) / len(targets),
        "hit": float(bool(top)),
        "mrr": 1 / (found[0] + 1) if found else 0.0,
        "map": sum(precisions) / min(k, len(targets)),
    }


def expected_over_ties(scores, targets, k):
    """Average the naive metrics over every order of candidates that the scores allow."""
    kept = [c for c in range(len(scores)) if scores[c] > -np.inf]
    orders = {tuple(sorted(p, key=lambda c: -scores[c])) for p in permutations(kept)}
    results = [naive(order, targets, k) for order in orders]
    return {name: np.mean([r[name] for r in results]) for name in results[0]}


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.sampled_from([-0.2, -0.1, 0.0, -np.inf]), min_size=3, max_size=6),
    columns=st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True),
    k=st.integers(1, 8),
)
def test_every_metric_is_the_mean_over_all_orders_of_ties(scores, columns, k):
    ranks = rank_targets(np.array([scores]), Ragged.from_rows([columns]))
    expected = expected_over_ties(scores, set(columns), k)
    assert recall(ranks, k=k)[0] == pytest.approx(expected["recall"])
    assert hit(ranks, k=k)[0] == pytest.approx(expected["hit"])
    assert reciprocal_rank(ranks)[0] == pytest.approx(expected["mrr"])
    assert average_precision(ranks, k=k)[0] == pytest.approx(expected["map"])


@pytest.mark.parametrize("constant", [0.0, -3.0, 7.5])
def test_a_constant_scorer_gets_chance(constant):
    n = 50
    ranks = rank_targets(np.full((4, n), constant), Ragged.from_rows([[0], [17], [49], [3]]))
    np.testing.assert_allclose(recall(ranks, k=10), 10 / n)
    np.testing.assert_allclose(hit(ranks, k=10), 10 / n)
    harmonic = (1 / np.arange(1, n + 1)).sum()
    np.testing.assert_allclose(reciprocal_rank(ranks), harmonic / n)
    np.testing.assert_allclose(average_precision(ranks, k=n), harmonic / n)


@pytest.mark.parametrize("transform", [lambda s: s - 100, lambda s: s * 8, lambda s: np.exp(s)])
def test_monotone_transforms_change_nothing(rng, transform):
    scores = rng.integers(-5, 5, (30, 40)).astype(float)
    targets = Ragged.from_rows([rng.choice(40, 3, replace=False) for _ in range(30)])
    before, after = rank_targets(scores, targets), rank_targets(transform(scores), targets)
    np.testing.assert_array_equal(average_precision(before, k=10), average_precision(after, k=10))
    np.testing.assert_array_equal(reciprocal_rank(before), reciprocal_rank(after))


def test_negative_scores_are_retrieved():
    ranks = rank_targets(np.array([[-0.1, -0.2, -0.3]]), Ragged.from_rows([[0]]))
    assert recall(ranks, k=1)[0] == hit(ranks, k=1)[0] == reciprocal_rank(ranks)[0] == 1.0


def test_targets_outside_the_gallery_are_never_retrieved():
    ranks = rank_targets(np.eye(3), Ragged.from_rows([[0], [], [2]]), n_targets=np.array([2, 1, 1]))
    assert recall(ranks, k=3).tolist() == [0.5, 0.0, 1.0]
    assert hit(ranks, k=3).tolist() == [1.0, 0.0, 1.0]
    assert average_precision(ranks, k=3).tolist() == [0.5, 0.0, 1.0]
    assert reciprocal_rank(ranks).tolist() == [1.0, 0.0, 1.0]


def test_k_beyond_the_gallery_finds_every_ranked_target(rng):
    targets = Ragged.from_rows([[0], [4]])
    ranks = rank_targets(rng.normal(size=(2, 5)), targets)
    assert recall(ranks, k=500).tolist() == [1.0, 1.0]


@pytest.fixture
def lists(rng):
    """Tie-free scores and several targets, as arrays and as dictionaries of names."""
    scores = rng.permuted(np.tile(np.linspace(-1, 1, 60), (25, 1)), axis=1)
    targets = Ragged.from_rows(
        [rng.choice(60, rng.integers(1, 5), replace=False) for _ in range(25)]
    )
    qrels = {f"q{i}": {f"d{c}": 1 for c in row} for i, row in enumerate(targets)}
    run = {f"q{i}": {f"d{c}": float(s) for c, s in enumerate(row)} for i, row in enumerate(scores)}
    return rank_targets(scores, targets), qrels, run


def test_agrees_with_ir_measures(lists):
    import ir_measures
    from ir_measures import RR, R

    ranks, qrels, run = lists
    got = ir_measures.calc_aggregate([R @ 10, RR], qrels, run)
    assert recall(ranks, k=10).mean() == pytest.approx(got[R @ 10])
    assert reciprocal_rank(ranks).mean() == pytest.approx(got[RR])


def test_agrees_with_ranx(lists):
    import ranx

    ranks, qrels, run = lists
    metrics = ["recall@10", "hit_rate@10", "mrr", "map"]
    got = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), metrics)
    assert recall(ranks, k=10).mean() == pytest.approx(got["recall@10"])
    assert hit(ranks, k=10).mean() == pytest.approx(got["hit_rate@10"])
    assert reciprocal_rank(ranks).mean() == pytest.approx(got["mrr"])
    assert average_precision(ranks, k=60).mean() == pytest.approx(got["map"])
