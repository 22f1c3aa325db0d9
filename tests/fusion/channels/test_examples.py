"""Training examples: who is among the candidates, and what each stands for."""

import errno

import numpy as np
import pytest

from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.view import ChannelReader
from dafm_core.ground import room

FAMILIES = ("rows",)


def examples(stack, families=FAMILIES, **changes):
    settings = {"n_hard": 3, "n_uniform": 5, "seed": 0} | changes
    return make_examples(stack, families, **settings)


def channels_of(stack, families=FAMILIES, bank=None):
    """Return the channels of all candidates for all queries."""
    reader = ChannelReader.of(stack.gallery, Layout(families, stack.names), bank)
    return reader.read(stack.tile(0, stack.n_queries)).channels()


def test_taking_all_candidates_gives_every_channel_in_file_order(make_problem):
    dataset, stack = make_problem()
    made = examples(stack, n_uniform=stack.n_gallery, in_file_order=True)
    tile = stack.tile(0, stack.n_queries)
    assert made.layout == Layout(FAMILIES, stack.names)
    np.testing.assert_array_equal(made.channels, channels_of(stack))
    np.testing.assert_array_equal(made.target, dataset.targets.values)
    np.testing.assert_array_equal(np.isneginf(made.log_weight), ~np.isfinite(tile[:, 0]))
    members = [dataset.subsets[i].tolist() for i in range(dataset.n_queries)]
    assert [np.flatnonzero(row).tolist() for row in made.in_subset] == members


def test_weights_of_a_sample_add_up_to_the_gallery(make_problem):
    dataset, stack = make_problem(n_gallery=200)
    made = examples(stack)
    assert made.log_weight.shape[1] < 60
    kept = stack.n_gallery - dataset.excluded.counts
    np.testing.assert_allclose(np.exp(made.log_weight).sum(axis=1), kept, rtol=1e-5)


def test_hard_and_labelled_candidates_stand_for_themselves(make_problem):
    dataset, stack = make_problem(n_gallery=200)
    made = examples(stack)
    scores = channels_of(stack)
    for e in range(len(made)):
        sure = made.channels[e][:, made.log_weight[e] == 0]
        assert scores[e, :, dataset.targets[e][0]].tolist() in sure.T.tolist()
        for k in range(stack.n_providers):
            best = np.sort(scores[e, k])[-3:]
            assert set(best) <= set(sure[k])
    assert (made.in_subset.sum(axis=1) == dataset.subsets.counts).all()
    assert (made.log_weight[np.arange(len(made)), made.target] == 0).all()


def test_several_targets_are_several_examples_and_never_rivals(make_problem):
    dataset, stack = make_problem(n_targets=3)
    made = examples(stack, n_uniform=stack.n_gallery)
    assert len(made) == 3 * dataset.n_queries
    np.testing.assert_allclose(made.weight, 1 / 3)
    rows = np.arange(len(made))
    other = np.roll(made.target.reshape(-1, 3), 1, axis=1).ravel()
    assert np.isneginf(made.log_weight[rows, other]).all()
    assert not made.in_subset[rows, other].any()
    assert (made.log_weight[rows, made.target] == 0).all()


def test_a_shuffled_gallery_draws_the_same_candidates(make_problem, rng):
    _, stack = make_problem(n_gallery=200)
    order = rng.permutation(stack.n_gallery)
    shuffled = stack.take_gallery([stack.gallery_ids[j] for j in order])
    one, two = examples(stack), examples(shuffled)
    np.testing.assert_allclose(one.channels, two.channels, atol=1e-5)
    np.testing.assert_array_equal(one.target, two.target)
    assert not np.array_equal(one.channels, examples(stack, seed=1).channels)


def test_all_candidates_of_a_shuffled_gallery_are_the_same_bits(make_problem, rng):
    _, stack = make_problem()
    order = rng.permutation(stack.n_gallery)
    shuffled = stack.take_gallery([stack.gallery_ids[j] for j in order])
    one, two = (
        make_examples(s, ("minmax",), n_hard=1, n_uniform=s.n_gallery, seed=0)
        for s in (stack, shuffled)
    )
    for name in ("channels", "target", "log_weight", "in_subset"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    as_written = make_examples(
        shuffled, ("minmax",), n_hard=1, n_uniform=99, seed=0, in_file_order=True
    )
    assert not np.array_equal(as_written.target, one.target)


@pytest.mark.parametrize("n_folds", [1, 3])
def test_examples_keep_the_order_of_the_queries(make_problem, n_folds):
    dataset, stack = make_problem()
    made = examples(
        stack, ("rows", "restandardized"), n_uniform=99, n_bank_folds=n_folds, in_file_order=True
    )
    assert made.groups.tolist() == dataset.groups.tolist()
    np.testing.assert_allclose(made.channels[:, :3], channels_of(stack), atol=1e-6)


def test_a_bank_that_is_given_is_used_for_all(make_problem):
    _, stack = make_problem(n_queries=120)
    fit, other = stack.split(seed=0)
    bank = QueryBank.of(other)
    families = ("rows", "restandardized", "reverse")
    made = examples(fit, families, n_uniform=99, bank=other, in_file_order=True)
    np.testing.assert_allclose(made.channels, channels_of(fit, families, bank), atol=1e-5)
    others = examples(fit, families, n_uniform=99, in_file_order=True)
    assert not np.allclose(made.channels, others.channels, atol=0.01)


def test_some_families_of_examples_are_those_made_without_the_others(make_problem):
    _, stack = make_problem(n_gallery=200)
    every, some = ("rows", "restandardized", "ranks"), ("restandardized", "ranks")
    left = examples(stack, every).of_families(some)
    assert_same(left, examples(stack, some))


@pytest.mark.parametrize("in_memory", [0, room.IN_MEMORY])
def test_examples_are_taken_and_put_together_again(make_problem, monkeypatch, in_memory):
    monkeypatch.setattr(room, "IN_MEMORY", in_memory)
    made = examples(make_problem(n_targets=2)[1])
    assert isinstance(made.channels, np.memmap) == (not in_memory)
    whole = made.room(len(made))
    for places in (np.arange(50, len(made)), np.arange(0, 50)):
        whole.put(places, made.take(places))
    assert_same(whole, made)


def test_without_room_on_disk_examples_lie_in_memory(make_problem, monkeypatch):
    monkeypatch.setattr(room, "IN_MEMORY", 0)
    monkeypatch.setattr(room, "reserve", full)
    assert not isinstance(examples(make_problem()[1]).channels, np.memmap)


def full(file, size):
    raise OSError(errno.ENOSPC, "No space left on device")


def assert_same(one, other):
    assert one.layout == other.layout
    for name in ("channels", "context", "target", "log_weight", "in_subset", "weight", "groups"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
