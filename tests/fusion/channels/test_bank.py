"""Query banks: statistics by hand, alignment by id, and folds that leave a query's group out."""

from dataclasses import replace

import numpy as np
import pytest

from dafm_core.errors import AlignmentError, OptionError
from dafm_core.fusion.channels.bank import (
    BankQueries,
    QueryBank,
    training_bank,
    without_groups,
)
from dafm_core.fusion.channels.examples import make_examples
from dafm_core.ground.normalize import zscore_rows
from dafm_core.store.stack import SimilarityStack


def test_statistics_are_those_of_the_standardised_columns(make_problem):
    _, stack = make_problem(n_queries=2000)
    scores = zscore_rows(stack.tile(0, 2000))
    scores[~np.isfinite(scores)] = np.nan
    bank = QueryBank.of(stack)
    np.testing.assert_allclose(bank.statistics.mean, np.nanmean(scores, axis=0), atol=0.01)
    np.testing.assert_allclose(bank.statistics.std, np.nanstd(scores, axis=0), rtol=0.02)


def test_a_small_bank_stays_near_the_scores_as_they_are(make_problem):
    _, stack = make_problem(n_queries=3)
    bank = QueryBank.of(stack)
    assert np.abs(bank.statistics.mean).max() < 0.6
    assert bank.statistics.std.min() > 0.7


def test_it_aligns_by_provider_and_gallery_id(make_problem, rng):
    _, stack = make_problem()
    order = rng.permutation(stack.n_gallery)
    other = stack.take_gallery([stack.gallery_ids[j] for j in order]).select(["model-2", "model-0"])
    whole, aligned = QueryBank.of(stack), QueryBank.of(stack).aligned(other.gallery)
    assert (aligned.names, aligned.gallery_ids) == (other.names, other.gallery_ids)
    cells = np.ix_([0, 2], order)
    np.testing.assert_array_equal(aligned.statistics.mean, whole.statistics.mean[cells])
    np.testing.assert_array_equal(aligned.statistics.std, whole.statistics.std[cells])
    for one, every in (
        (aligned.reverse_ranks.thresholds, whole.reverse_ranks.thresholds),
        (aligned.topics.directions.swapaxes(0, 1), whole.topics.directions.swapaxes(0, 1)),
    ):
        np.testing.assert_array_equal(one, every[:, [0, 2]][:, :, order])


def test_a_bank_that_lacks_a_provider_or_a_candidate_says_which(make_problem):
    _, stack = make_problem()
    with pytest.raises(AlignmentError, match=r"bank: expected providers .*Score model-1"):
        QueryBank.of(stack.select(["model-0", "model-2"])).aligned(stack.gallery)
    fewer = QueryBank.of(stack.take_gallery(stack.gallery_ids[:-1]))
    with pytest.raises(AlignmentError, match=r"no scores of gallery image 'img39' \(1 are missing"):
        fewer.aligned(stack.gallery)


def test_it_covers_a_gallery_whose_every_candidate_it_has_seen(make_problem):
    _, stack = make_problem()
    some = stack.take_gallery(stack.gallery_ids[5:20])
    assert QueryBank.of(stack).covers(some.gallery)
    assert QueryBank.of(stack).covers(stack.select(["model-1"]).gallery)
    assert not QueryBank.of(some).covers(stack.gallery)


def test_crossfitted_banks_hold_all_queries_of_other_groups(make_problem):
    dataset, stack = make_problem()
    seen = []
    for rows, bank in BankQueries(stack, n_folds=3, seed=0).crossfitted():
        others = np.setdiff1d(np.arange(stack.n_queries), rows)
        assert not set(dataset.groups[rows]) & set(dataset.groups[others])
        expected = QueryBank.of(stack.take_queries([stack.query_ids[i] for i in others]))
        np.testing.assert_allclose(bank.statistics.mean, expected.statistics.mean, atol=1e-5)
        np.testing.assert_allclose(bank.statistics.std, expected.statistics.std, atol=1e-5)
        seen.extend(rows)
    assert sorted(seen) == list(range(stack.n_queries))


def test_with_a_single_group_the_bank_holds_the_queries_themselves(make_problem):
    _, stack = make_problem(n_queries=4)
    ((rows, bank),) = BankQueries(stack, n_folds=5, seed=0).crossfitted()
    assert rows.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(bank.statistics.mean, QueryBank.of(stack).statistics.mean)


def test_state_restores_a_bank(make_problem):
    bank = QueryBank.of(make_problem()[1])
    again = QueryBank.from_state(*bank.to_state())
    assert (again.names, again.gallery_ids) == (bank.names, bank.gallery_ids)
    arrays, same = bank.to_state()[0], again.to_state()[0]
    assert arrays.keys() == same.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(same[name], array, err_msg=name)


def test_a_fuser_keeps_a_bank_of_its_training_queries_or_of_those_given(make_problem):
    _, stack = make_problem()
    fit, other = stack.split(seed=0)
    families = ("rows", "restandardized")
    assert training_bank(fit, ("rows", "ranks"), None) is None
    for bank, queries in ((None, fit), (other, other), (stack, stack)):
        kept = training_bank(fit, families, bank)
        expected = QueryBank.of(queries).statistics.mean
        np.testing.assert_array_equal(kept.statistics.mean, expected)


def test_examples_see_nothing_of_their_own_group_in_a_bank_of_the_same_store(make_problem):
    dataset, stack = make_problem()
    fit = stack.take_queries(stack.query_ids[:24])
    group = fit.dataset.groups[0]
    scores = [np.array(matrix) for matrix in stack.matrices]
    for matrix in scores:
        matrix[dataset.groups == group] *= -1
    turned = SimilarityStack.from_matrices(dict(zip(stack.names, scores, strict=True)), dataset)
    before, after = (
        make_examples(fit, ("columns",), n_hard=5, n_uniform=99, seed=0, bank=bank).channels
        for bank in (stack, turned)
    )
    own = fit.dataset.groups == group
    np.testing.assert_array_equal(before[own], after[own])
    assert not np.allclose(before[~own], after[~own])


def test_a_bank_of_the_training_queries_is_what_training_makes_itself(make_problem):
    _, stack = make_problem()
    own, given = (
        make_examples(stack, ("reverse",), n_hard=5, n_uniform=99, seed=0, bank=bank).channels
        for bank in (None, stack)
    )
    np.testing.assert_array_equal(own, given)


def test_a_bank_without_held_out_groups_keeps_all_others(make_problem):
    dataset, stack = make_problem()
    held_out = stack.take_queries(stack.query_ids[:1])
    rest = without_groups(stack, held_out)
    kept = dataset.groups != dataset.groups[0]
    assert list(rest.query_ids) == np.array(stack.query_ids)[kept].tolist()
    other = SimilarityStack.from_matrices(
        dict(zip(stack.names, stack.matrices, strict=True)), replace(dataset, protocol="other")
    )
    assert without_groups(other, held_out) is other
    with pytest.raises(OptionError, match="every query is of a group that is held out"):
        without_groups(held_out, stack)


def test_what_is_selected_from_a_remembering_stack_shares_its_banks(make_problem, monkeypatch):
    _, stack = make_problem(n_queries=40)
    families, names = ("restandardized", "reverse", "topics"), stack.names[1:]
    settings = {"n_hard": 3, "n_uniform": 5, "seed": 0}
    alone = stack.select(names)
    expected = make_examples(alone, families, **settings)
    bank = training_bank(alone, families, None)
    shared = stack.remembering()
    make_examples(shared, families, **settings)
    training_bank(shared, families, None)
    monkeypatch.setattr(QueryBank, "_of_scores", None)  # no other bank is made
    made = make_examples(shared.select(names), families, **settings)
    np.testing.assert_array_equal(made.channels, expected.channels)
    same = training_bank(shared.select(names), families, None)
    np.testing.assert_array_equal(same.statistics.mean, bank.statistics.mean)
    np.testing.assert_array_equal(same.reverse_ranks.thresholds, bank.reverse_ranks.thresholds)
    np.testing.assert_array_equal(same.topics.directions, bank.topics.directions)
