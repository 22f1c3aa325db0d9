"""A metric is decided exactly where every order that the known scores allow gives one value."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dafm_core.ground.ragged import Ragged
from dafm_core.metrics.ranking import Places, rank_targets
from dafm_core.metrics.spec import parse_metric

N = 6
METRICS = ("recall@1", "recall@2", "recall@4", "hit@1", "hit@3", "hit@4", "map@2", "map@4",
           "map@10", "mrr", "recall@6", "hit@6", "recall@50")  # fmt: skip
rows = st.lists(st.sampled_from([0.0, 1.0, 2.0, None]), min_size=N, max_size=N)
targets = st.sets(st.integers(0, N - 1), min_size=1, max_size=3)


def measured(scores, unknown, columns, metric, *, anywhere=False, within=None):
    ranks = rank_targets(
        scores[None],
        Ragged.from_rows([sorted(columns)]),
        unknown=None if unknown is None else unknown[None],
        anywhere=anywhere,
        within=within,
    )
    return float(parse_metric(metric)(Places(ranks, ranks, ranks))[0])


def completions(row, *, anywhere):
    """Yield every order of the unknown candidates, below the known ones or among them."""
    known = np.array([np.nan if value is None else value for value in row])
    lost = np.flatnonzero(np.isnan(known))
    levels = sorted({value for value in row if value is not None})
    bases = [-10.0]
    if anywhere:
        bases += [level + 0.5 for level in levels]
    for order in permutations(range(len(lost))):
        for places in np.ndindex(*(len(bases),) * len(lost)):
            filled = known.copy()
            for i, candidate in enumerate(lost):
                filled[candidate] = bases[places[i]] + 1e-3 * order[i]
            yield filled


@pytest.mark.parametrize("anywhere", [False, True])
@settings(max_examples=25)
@given(row=rows, columns=targets)
def test_decided_means_that_no_order_gives_another_value(anywhere, row, columns):
    unknown = np.array([value is None for value in row])
    if unknown.sum() > (2 if anywhere else 4):
        return
    scores = np.array([np.nan if value is None else value for value in row])
    every = list(completions(row, anywhere=anywhere))
    for metric in METRICS:
        value = measured(scores, unknown, columns, metric, anywhere=anywhere)
        possible = {round(measured(filled, None, columns, metric), 9) for filled in every}
        if not np.isnan(value):
            assert possible == {round(value, 9)}, metric
        elif not anywhere:  # there it is cautious: two targets may change places
            assert len(possible) > 1, metric


@settings(max_examples=40)
@given(row=rows, columns=targets, members=st.sets(st.integers(0, N - 1), min_size=2))
def test_so_it_does_in_a_subset(row, columns, members):
    unknown = np.array([value is None for value in row])
    scores = np.array([np.nan if value is None else value for value in row])
    within = Ragged.from_rows([sorted(members | columns)])
    for metric in ("rsubset@1", "rsubset@2", "rsubset@3"):
        value = measured(scores, unknown, columns, metric, within=within)
        possible = {
            round(measured(filled, None, columns, metric, within=within), 9)
            for filled in completions(row, anywhere=False)
        }
        assert (len(possible) > 1) == np.isnan(value), metric
        if not np.isnan(value):
            assert possible == {round(value, 9)}


@given(row=st.permutations(range(N)), columns=targets, depth=st.integers(0, N - 1))
def test_lengthening_a_list_never_makes_a_decided_number_wrong(row, columns, depth):
    scores = np.array(row, float)
    short, longer = scores < N - depth, scores < N - depth - 1
    for metric in METRICS:
        before = measured(scores, short, columns, metric)
        after = measured(scores, longer, columns, metric)
        assert np.isnan(before) or after == pytest.approx(before), metric


def test_a_list_of_two_does_not_decide_recall_at_four():
    scores = np.array([9, 8, 0, 0, 0, 0], float)
    unknown = scores == 0
    assert measured(scores, unknown, {0}, "recall@4") == 1
    assert measured(scores, unknown, {3}, "recall@2") == 0
    assert np.isnan(measured(scores, unknown, {3}, "recall@4"))
    assert np.isnan(measured(scores, unknown, {3}, "mrr"))
    assert np.isnan(measured(scores, unknown, {0}, "recall@4", anywhere=True))


def test_a_target_that_stands_alone_is_first_whoever_knows_it():
    alone, unknown = np.array([np.nan]), np.array([True])
    for metric in ("map@4", "mrr", "recall@1"):
        assert measured(alone, unknown, {0}, metric, anywhere=True) == 1, metric
