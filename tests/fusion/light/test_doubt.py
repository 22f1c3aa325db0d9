"""Scores that say how far they are in doubt: against sampled weights, and where there is none."""

from dataclasses import replace

import numpy as np
import pytest

import dafm_core.fusion.light.doubt as doubts
from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.light.doubt import CAUTION, Doubt, doubt_of, doubted_score
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.fusion.light.linear import Prior, fit_linear
from dafm_core.fusion.light.options import LossWeights
from dafm_core.fusion.saving import load_fuser, save_fuser

GALLERY = LossWeights(1.0, 0.0)
PRIOR = Prior.alike(np.full(6, 0.3))


@pytest.fixture(scope="module")
def stack(make_problem):
    return make_problem(n_queries=240, n_gallery=60, noise=(1.0, 2.0, 3.0))[1]


@pytest.fixture(scope="module")
def examples(stack):
    return make_examples(stack, ("rows", "ranks"), n_hard=5, n_uniform=99, seed=0)


@pytest.fixture(scope="module")
def few(examples):
    return examples.take(np.arange(20))


def fitted(examples, strength=5.0):
    return fit_linear(examples, GALLERY, prior=PRIOR, strength=strength)


def spread_of(doubt):
    """Return the variance of the weights that a doubt stands for."""
    return 8 / np.pi / CAUTION * doubt.root.T.astype(np.float64) @ doubt.root


def test_it_is_the_chance_to_beat_a_typical_query_s_rivals_over_all_weights(few, examples):
    """Chances over weights drawn around the fit are those that the score stands for."""
    fit = fitted(few)
    doubt = doubt_of(few, fit, fit.weights)
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal(fit.weights, CAUTION * spread_of(doubt), 4000)
    channels = examples.channels[100:110]
    logits = np.einsum("sc,bcn->sbn", drawn - fit.weights, channels - doubt.centre[:, None])
    logits += np.einsum("c,bcn->bn", fit.weights, channels) - doubt.level
    chance = (1 / (1 + np.exp(-logits))).mean(axis=0)
    score = doubted_score(doubt, fit.weights.astype(np.float32), channels)
    got = 1 / (1 + np.exp(doubt.level - score))
    np.testing.assert_allclose(got, chance, atol=0.03)


@pytest.mark.parametrize("n_labels", [20, 200])
def test_weights_vary_over_labels_as_much_as_it_says(examples, n_labels):
    """Labels are drawn again and again as the prior says, and weights found from each."""
    some = examples.take(np.arange(n_labels))
    logits = np.einsum("c,ecw->ew", PRIOR.mean, some.channels) + some.log_weight
    rng = np.random.default_rng(0)
    fits, said = [], []
    for _ in range(300):
        targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        drawn = replace(some, target=targets)
        fit = fitted(drawn)
        fits.append(fit.weights)
        said.append(spread_of(doubt_of(drawn, fit, fit.weights)))
    seen, expected = np.cov(np.transpose(fits)), np.mean(said, axis=0)
    assert np.trace(expected) == pytest.approx(np.trace(seen), rel=0.15)
    np.testing.assert_allclose(expected, seen, atol=0.2 * np.trace(seen))


def test_the_level_and_the_centre_are_those_of_rivals(few):
    fit = fitted(few)
    doubt = doubt_of(few, fit, fit.weights)
    logits = np.einsum("c,ecw->ew", fit.weights, few.channels) + few.log_weight
    logits[np.arange(len(few)), few.target] = -np.inf
    chance = np.exp(logits)
    assert doubt.level == pytest.approx(np.log(chance.sum(axis=1)).mean(), rel=1e-4)
    chance /= chance.sum(axis=1, keepdims=True)
    expected = np.einsum("ecw,ew->ec", few.channels, chance).mean(axis=0)
    np.testing.assert_allclose(doubt.centre, expected, rtol=1e-3, atol=1e-5)


def test_many_labels_leave_little_in_doubt_and_what_none_has_moved_is_not(few, examples):
    def off(some, moved=1.0, strength=5.0):
        fit = fitted(some, strength)
        doubt = doubt_of(some, fit, fit.weights, moved=moved)
        weights = fit.weights.astype(np.float32)
        return np.abs(doubted_score(doubt, weights, few.channels) - weights @ few.channels).mean()

    assert off(few) > 1.5 * off(examples) > 0
    assert off(few) > off(few, moved=0.5) > off(few, moved=0.0) == 0
    assert off(few) > off(few, strength=50.0) > 100 * off(few, strength=1e6)
    assert off(few, strength=np.inf) == pytest.approx(0, abs=1e-6)


def test_without_a_rival_there_is_nothing_to_be_measured_by(few):
    alone = np.full_like(few.log_weight, -np.inf)
    alone[np.arange(len(few)), few.target] = 0
    fit = fitted(few)
    assert doubt_of(replace(few, log_weight=alone), fit, fit.weights).is_none


@pytest.mark.parametrize("size", [1, 7, 59, 60])
def test_blocks_of_candidates_change_nothing(few, monkeypatch, size):
    fit = fitted(few)
    doubt, weights = doubt_of(few, fit, fit.weights), fit.weights.astype(np.float32)
    expected = doubted_score(doubt, weights, few.channels)
    monkeypatch.setattr(doubts, "BLOCK_CELLS", size)
    np.testing.assert_allclose(doubted_score(doubt, weights, few.channels), expected, atol=1e-5)


def test_a_channel_that_cannot_be_made_is_not_in_doubt(few):
    fit = fitted(few)
    doubt, used = doubt_of(few, fit, fit.weights), np.array([True, True, False] * 2)
    wide = Doubt(doubt.level, doubt.centre[used], doubt.root[:, used][:6]).centre
    known = doubt.knowing(used)
    np.testing.assert_array_equal(known.centre[used], wide)
    assert not known.root[:, ~used].any()
    assert (known.root[:, used] == doubt.root[:, used]).all()


def test_few_labels_draw_the_gallery_s_scores_and_not_the_subset_s(stack):
    fit, held_out = stack.split(test_size=0.25, seed=0)
    light = LightFusion(network="linear").fit(fit)
    few = light.with_labels(sorted(set(fit.dataset.groups))[:20])
    tile = held_out.tile(0, 20)
    channels = few._reader(held_out.gallery, few.families_).read(tile).channels()
    for head, is_linear in (("gallery", False), ("subset", True)):
        plain = few.by_head_[head].arrays["weights"][0].astype(np.float32) @ channels
        scores = few.scorer(held_out, head=head)(tile)
        kept = np.isfinite(scores)
        assert np.allclose(scores[kept], plain[kept], atol=1e-4) == is_linear


def test_it_is_saved_and_models_from_before_score_as_they_did(stack, tmp_path):
    fit, held_out = stack.split(test_size=0.25, seed=0)
    light = LightFusion(network="linear").fit(fit)
    scores = light.fuse(held_out).scores
    save_fuser(light, tmp_path / "light")
    np.testing.assert_array_equal(load_fuser(tmp_path / "light").fuse(held_out).scores, scores)
    arrays = light.learned_.arrays
    for name in [name for name in arrays if name.startswith("doubt.")]:
        del arrays[name]
    older = light.fuse(held_out).scores
    tile = held_out.tile(0, held_out.n_queries)
    channels = light._reader(held_out.gallery, light.families_).read(tile).channels()
    kept = np.isfinite(older)
    np.testing.assert_allclose(older[kept], (light.weights_[0] @ channels)[kept], atol=1e-4)
    assert not np.allclose(older[kept], scores[kept], atol=1e-3)
