"""What labels start from is the label-free fusion, and how far they leave it is theirs to say."""

from dataclasses import replace

import numpy as np
import pytest

from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.channels.shared import shared_weights
from dafm_core.fusion.debiased import DebiasedFusion
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.fusion.light.linear import Prior, fit_linear
from dafm_core.fusion.light.options import LossWeights
from dafm_core.fusion.light.prior import FIRMNESS, STRENGTHS, Belief, believe, prior_of, pull_of

GALLERY = LossWeights(1.0, 0.0)
FAMILIES = ("rows", "restandardized", "ranks", "reverse", "topics")


@pytest.fixture(scope="module")
def stack(make_problem):
    return make_problem(n_queries=480, n_gallery=100, noise=(1.0, 2.0, 3.0, 3.0))[1]


@pytest.fixture(scope="module")
def examples(stack):
    return make_examples(stack, FAMILIES, n_hard=5, n_uniform=99, seed=0)


def drawn(examples, weights, seed=0):
    """Return examples whose targets are drawn as these weights say."""
    logits = np.einsum("c,ecw->ew", weights, examples.channels) + examples.log_weight
    luck = np.random.default_rng(seed).gumbel(size=logits.shape)
    return replace(examples, target=(logits + luck).argmax(axis=1))


@pytest.mark.parametrize("head", ["gallery", "subset"])
def test_with_the_prior_alone_it_ranks_as_the_label_free_fusion(stack, head):
    fit, held_out = stack.split(test_size=0.25, seed=0)
    light = LightFusion(network="linear", prior=1e9).fit(fit)
    free = DebiasedFusion().fit(fit)
    tile = held_out.tile(0, 40)
    got = light.scorer(held_out, head=head)(tile)
    expected = free.scorer(held_out, head=head if head in free.heads else "gallery")(tile)
    seen = np.isfinite(expected)
    factor = np.ptp(got[seen]) / np.ptp(expected[seen])
    np.testing.assert_allclose(got[seen], factor * expected[seen], atol=1e-3 * np.ptp(got[seen]))


def test_labels_that_the_prior_explains_leave_it_and_others_move_it(examples):
    """The worth of the first provider is right, or three times too small."""
    prior = 2 * shared_weights(examples.layout, "gallery")
    first = examples.layout.of_providers(np.array([True, False, False, False]))
    right = believe(drawn(examples, prior), GALLERY, seed=0)
    wrong = believe(drawn(examples, np.where(first, 3, 1) * prior), GALLERY, seed=0)
    assert right.moved < 0.5 < 0.999 < wrong.moved
    assert min(STRENGTHS) <= wrong.strength < right.strength <= max(STRENGTHS)


def test_a_handful_of_labels_is_believed_half(examples):
    assert believe(examples.take(np.arange(1)), GALLERY, seed=0).moved == pytest.approx(
        0.5, abs=0.1
    )


def test_what_is_believed_is_the_same_each_time_and_for_queries_in_another_order(examples, rng):
    some = examples.take(np.arange(120))
    once = believe(some, GALLERY, seed=0)
    assert believe(some, GALLERY, seed=0) == once
    shuffled = believe(some.take(rng.permutation(120)), GALLERY, seed=0)
    np.testing.assert_allclose(shuffled, once, rtol=1e-3)


def test_providers_in_another_order_are_held_alike(examples):
    some = examples.take(np.arange(120))
    order = np.arange(some.layout.n_channels).reshape(-1, 4)[:, ::-1].ravel()
    layout = replace(some.layout, providers=some.layout.providers[::-1])
    other = replace(some, layout=layout, channels=some.channels[:, order])
    one, two = (prior_of(part, GALLERY, part.layout) for part in (some, other))
    np.testing.assert_allclose(two.mean, one.mean[order], rtol=1e-3)
    np.testing.assert_allclose(
        two.pull, one.pull[np.ix_(order, order)], atol=1e-3 * np.abs(one.pull).max()
    )
    np.testing.assert_allclose(
        believe(other, GALLERY, seed=0), believe(some, GALLERY, seed=0), rtol=1e-2
    )


def test_channels_of_another_unit_are_held_alike(examples):
    """Scores a hundred times as large are fitted by weights a hundredth as large."""
    unit = np.geomspace(0.1, 10, examples.layout.n_channels)
    bend = np.cov(np.random.default_rng(0).normal(size=(20, 200))) + np.eye(20)
    easily = np.kron(np.ones((5, 1)), np.eye(4))
    one = pull_of(1e6 * bend, easily)  # so that the ridge does not count
    two = pull_of(1e6 * bend * np.outer(unit, unit), easily / unit[:, None])
    np.testing.assert_allclose(two, one * np.outer(unit, unit), rtol=1e-3)


def test_a_providers_worth_is_pulled_less_than_anything_else():
    bend = np.diag([1.0, 2.0, 3.0, 4.0])
    easily = np.array([[1.0, 0], [0, 1.0], [1.0, 0], [0, 1.0]])
    pull = pull_of(bend, easily)
    for direction in easily.T:
        assert direction @ pull @ direction == pytest.approx(direction @ bend @ direction, rel=0.1)
    across = np.array([3.0, 0, -1.0, 0])  # nothing of the first provider's worth
    assert across @ pull @ across == pytest.approx(FIRMNESS * across @ bend @ across, rel=0.1)


def test_half_a_belief_goes_half_the_way():
    prior = Prior.alike(np.zeros(2))
    assert Belief(moved=0.5, strength=1.0).between(prior, np.array([2.0, 4.0])).tolist() == [1, 2]


def test_few_labels_do_no_harm(make_problem):
    """Noise among many channels: forty labels must not be worth less than none."""
    _, stack = make_problem(n_queries=640, n_gallery=100, noise=(3.0, 3.0, 3.0, 3.0))
    examples = make_examples(stack, FAMILIES, n_hard=5, n_uniform=99, seed=0)
    held_out = examples.take(np.arange(160, 640))

    def recall(weights):
        scores = np.einsum("c,ecw->ew", weights, held_out.channels) + np.where(
            np.isneginf(held_out.log_weight), -np.inf, 0
        )
        own = scores[np.arange(len(scores)), held_out.target]
        return ((scores > own[:, None]).sum(axis=1) < 5).mean()

    learned = []
    for start in (0, 40, 80, 120):
        few = examples.take(np.arange(start, start + 40))
        prior, belief = prior_of(few, GALLERY, few.layout), believe(few, GALLERY, seed=0)
        fit = fit_linear(few, GALLERY, prior=prior, strength=belief.strength)
        learned.append(recall(belief.between(prior, fit.weights)))
    assert np.mean(learned) > recall(prior.mean) - 0.005
