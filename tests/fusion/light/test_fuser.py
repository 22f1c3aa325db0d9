"""LightFusion: the laws, the default against singles and means, lost providers, edges.

What it shares with other fusions over channels is tested in ``channels/test_fuser.py``.
"""

import logging
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest

from dafm_core.contract.options import option
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import FuserError, OptionError
from dafm_core.evaluation.evaluate import evaluate, evaluate_providers
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.view import ChannelReader
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.fusion.light.options import LightOptions
from dafm_core.fusion.light.scoring import mean_score
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.ground.normalize import ColumnStatistics
from dafm_core.scoring.neighbours import nearest_neighbours
from dafm_core.store.stack import SimilarityStack

QUICK = {"n_seeds": 1, "n_epochs": 2}


@pytest.fixture(scope="module")
def stack(make_problem):
    _, stack = make_problem(n_queries=400, n_gallery=80, noise=(1.5, 2.0, 2.5))
    features = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
    near = {"model-0": nearest_neighbours(features)}
    return replace(stack, gallery=replace(stack.gallery, neighbours=near))


@pytest.fixture(scope="module")
def split(stack):
    return stack.split(test_size=0.25, seed=0)


@pytest.fixture(scope="module")
def light(split):
    return LightFusion(**QUICK).fit(split[0])


def by_name(stack):
    return dict(zip(stack.names, stack.matrices, strict=True))


def like(stack, matrices):
    """Return whole matrices over the queries of a stack, with its neighbours where they are."""
    near = {n: v for n, v in stack.gallery.neighbours.items() if n in matrices}
    rows = {name: matrix[stack.rows] for name, matrix in matrices.items()}
    return SimilarityStack.from_matrices(rows, stack.dataset, neighbours=near)


def best_single(stack, metric):
    return max(single.values[metric] for single in evaluate_providers(stack).values())


def test_the_default_beats_every_single_and_their_mean(light, split):
    _, held_out = split
    fused = evaluate(light, held_out).values["recall@1"]
    assert fused > 0.05 + best_single(held_out, "recall@1")
    assert light.n_networks_ == 1
    assert light.bank_ is not None


def test_it_starts_at_the_linear_fusion(split):
    fit, held_out = split
    linear = LightFusion(network="linear").fit(fit)
    tile = held_out.tile(0, 30)
    channels = linear._reader(held_out.gallery, linear.families_).read(tile).channels()
    start = LightFusion(n_epochs=0, n_seeds=1).fit(fit).scorer(held_out)(tile)
    kept = np.isfinite(start)
    np.testing.assert_allclose(start[kept], (linear.weights_[0] @ channels)[kept], atol=1e-4)


def test_permuting_the_gallery_permutes_the_scores(light, split, rng):
    fit, held_out = split
    order = rng.permutation(fit.n_gallery)
    ids = [fit.gallery_ids[j] for j in order]
    scores = light.fuse(held_out).scores
    shuffled = light.fuse(held_out.take_gallery(ids)).scores
    np.testing.assert_allclose(shuffled, scores[:, order], atol=1e-4)
    again = LightFusion(**QUICK).fit(fit.take_gallery(ids))
    np.testing.assert_allclose(again.fuse(held_out).scores, scores, atol=5e-3)


def test_neither_order_nor_offset_nor_scale_of_providers_matters(light, split):
    moved = {
        name: matrix * np.float32(k + 1.5) - np.float32(k)
        for k, (name, matrix) in enumerate(by_name(split[0]).items())
    }
    fit, held_out = (like(part, dict(reversed(moved.items()))) for part in split)
    scores = LightFusion(**QUICK).fit(fit).fuse(held_out).scores
    np.testing.assert_allclose(scores, light.fuse(split[1]).scores, atol=0.02)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(light, split):
    fit, held_out = split
    same, other = (LightFusion(seed=seed, **QUICK).fit(fit) for seed in (0, 4))
    np.testing.assert_array_equal(same.fuse(held_out).scores, light.fuse(held_out).scores)
    assert not np.array_equal(other.fuse(held_out).scores, light.fuse(held_out).scores)


def test_a_row_does_not_depend_on_its_tile(light, split):
    _, held_out = split
    whole = light.fuse(held_out).scores
    alone = light.fuse(held_out.take_queries(held_out.query_ids[7:8])).scores
    np.testing.assert_allclose(alone[0], whole[7], atol=1e-5)


def test_saving_keeps_every_bit_and_the_history(light, split, tmp_path):
    _, held_out = split
    again = load_fuser(save_fuser(light, tmp_path / "model"))
    np.testing.assert_array_equal(again.fuse(held_out).scores, light.fuse(held_out).scores)
    assert again.history_ == light.history_
    assert again.n_networks_ == 1
    np.testing.assert_array_equal(again.weights_, light.weights_)


def test_a_saved_fusion_outlives_a_change_of_the_defaults(light, split, tmp_path, monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class OtherDefaults(LightOptions):
        n_hidden: int = option(33, "hidden units of a network", at_least=1)
        inputs: str = option("rows", "channels")
        provider_dropout: float = option(0.0, "share of examples that lose a provider")

    fewer = split[1].select(["model-0", "model-1"])
    folder = save_fuser(light, tmp_path / "model")
    scores = light.fuse(fewer).scores
    monkeypatch.setattr(LightFusion, "options_type", OtherDefaults)
    again = load_fuser(folder)
    np.testing.assert_array_equal(again.fuse(fewer).scores, scores)
    assert again.params() == light.params() != LightFusion(**QUICK).params()


def test_every_option_can_be_given_by_name_and_comes_back():
    changed = {
        "n_epochs": 7,
        "batch_size": 8,
        "patience": 2,
        "temperature_rule": "learned",
        "n_hidden": 3,
        "inputs": "rows",
        "seed": 5,
    }
    params = LightFusion(**changed).params()
    assert params == LightFusion().params() | changed
    assert LightFusion(**params).options.training.n_epochs == 7
    assert params.keys() == {described.name for described in LightOptions.described()}


def test_history_and_progress_tell_how_training_went(split):
    fit, _ = split
    steps = []
    light = LightFusion(n_seeds=2, n_epochs=2).fit(fit, progress=lambda *step: steps.append(step))
    assert steps[0] == ("gallery head, network 1 of 2", 0, 2)
    assert steps[-1][0] == "subset head, network 2 of 2"
    assert light.n_networks_ == len(light.history_) == 2
    for history in light.history_:
        assert {"epoch", "validation_loss", "recall@1", "recall@10"} == set(history[0])
        assert all(record["temperature"] == 1.0 for record in history if "loss" in record)


def test_a_lost_provider_costs_no_more_than_what_is_left(light, split):
    _, held_out = split
    for n in (2, 1):
        for names in combinations(held_out.names, n):
            fewer = held_out.select(names)
            fused = evaluate(light, fewer).values["recall@5"]
            assert fused >= best_single(fewer, "recall@5") - 0.02


def test_without_the_neighbours_it_was_fitted_with_it_still_ranks(light, split):
    _, held_out = split
    bare = replace(held_out, gallery=replace(held_out.gallery, neighbours={}))
    assert evaluate(light, bare).values["recall@1"] > best_single(bare, "recall@1")


def test_too_few_queries_give_the_linear_fusion_and_say_so(stack, caplog):
    light = LightFusion().fit(stack.take_queries(stack.query_ids[:40]))
    assert light.n_networks_ == 0
    assert "40 training examples in 10 groups support no more than the linear fusion" in caplog.text
    one = LightFusion().fit(stack.take_queries(stack.query_ids[:1]))
    assert np.isfinite(one.weights_).all()


def test_degenerate_providers_are_defined(stack):
    first = stack.matrices[0]
    flat = np.full_like(first, 0.3)
    excluded = stack.dataset.excluded
    for matrices in ({"a": first}, {"a": first, "b": first}, {"a": first, "flat": flat}):
        other = SimilarityStack.from_matrices(matrices, stack.dataset)
        light = LightFusion(**QUICK).fit(other)
        scores = light.fuse(other).scores
        assert np.isneginf(scores[excluded.rows, excluded.values]).all()
        assert np.isfinite(scores).sum() == scores.size - len(excluded.values)
        values = evaluate(light, other, allow_fitted=True).values["recall@1"]
        assert values > 0.9 * evaluate_providers(other)["a"].values["recall@1"]


def test_a_provider_of_noise_costs_next_to_nothing(light, split, rng):
    noise = rng.normal(size=split[0].matrices[0].shape).astype(np.float32)
    fit, held_out = (like(part, by_name(part) | {"noise": noise}) for part in split)
    clean = evaluate(light, split[1]).values["recall@5"]
    fused = evaluate(LightFusion(**QUICK).fit(fit), held_out).values["recall@5"]
    assert fused > clean - 0.04


def test_targets_outside_the_gallery_are_not_learned_from(stack):
    rows = stack.dataset.queries.to_dicts()
    for row in rows[:5]:
        row["targets"] = ["nowhere"]
    partly, without = (
        replace(stack, dataset=replace(stack.dataset, queries=query_frame(r, where="toy")))
        for r in (rows, [row | {"targets": ["nowhere"]} for row in rows])
    )
    left = stack.take_queries(stack.query_ids[5:])
    bank = {"inputs": "rows,ranks", "network": "linear", "candidates": "exact"}
    one, two = (LightFusion(**bank).fit(s).weights_ for s in (partly, left))
    np.testing.assert_array_equal(one, two)
    with pytest.raises(FuserError, match="no training query has a target in the gallery"):
        LightFusion().fit(without)


def test_groups_of_one_and_queries_without_subsets_are_fine(stack):
    rows = [
        row | {"group": row["query_id"], "subset": []} for row in stack.dataset.queries.to_dicts()
    ]
    dataset = replace(stack.dataset, queries=query_frame(rows, where="toy"))
    assert LightFusion(**QUICK).fit(replace(stack, dataset=dataset)).n_networks_ == 1


@pytest.mark.parametrize("rule", ["paper", "adaptive", "learned"])
def test_every_temperature_rule_trains(split, rule):
    light = LightFusion(temperature_rule=rule, **QUICK).fit(split[0])
    taus = [record["temperature"] for record in light.history_[0] if "loss" in record]
    assert len(set(taus)) > 1


@pytest.mark.parametrize("objective", ["gallery", "subset"])
def test_objectives_pull_apart(split, objective):
    fit, held_out = split
    one, both = (
        LightFusion(objective=goal, network="linear").fit(fit) for goal in (objective, "weighted")
    )
    assert evaluate(one, held_out).values["recall@1"] > 0.2
    assert not np.allclose(one.weights_, both.weights_, atol=1e-3)


def test_exact_and_sampled_training_agree(split):
    fit, held_out = split
    exact, sampled = (
        evaluate(LightFusion(candidates=c, network="linear").fit(fit), held_out).values["recall@5"]
        for c in ("exact", "sampled")
    )
    assert exact == pytest.approx(sampled, abs=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "paper"}, "LightFusion: unknown option 'preset'"),
        ({"network": "deep"}, "LightFusion: no network 'deep'"),
        ({"inputs": "row"}, "LightFusion: no input 'row'; did you mean 'rows'"),
        ({"n_epochs": -1}, "expected n_epochs >= 0, got -1"),
        ({"subset_weight": 1.0}, "got objective=separate. Add objective=weighted"),
        ({"temperature": 0.0}, r"expected temperature > 0 and <= 1e\+06, got 0"),
        ({"temperature_scale": -1.0}, r"expected temperature_scale > 0 and <= 1e\+06, got -1"),
        ({"temperature_rule": "fixd"}, "no temperature_rule 'fixd'; did you mean 'fixed'"),
        ({"n_hidden": 0}, "expected n_hidden >= 1"),
        ({"provider_dropout": 1.5}, "expected provider_dropout >= 0 and <= 1, got 1.5"),
    ],
)
def test_options_are_checked_when_given(options, message):
    with pytest.raises(OptionError, match=message):
        LightFusion(**options)


def test_warnings_are_logged_not_raised(stack, caplog):
    with caplog.at_level(logging.WARNING):
        LightFusion().fit(stack.take_queries(stack.query_ids[:8]))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_networks_see_a_lost_provider_as_they_did_in_training(split):
    """In training its channels and its context, once standardised, are zero."""
    fit, held_out = split
    light = LightFusion(n_seeds=1, n_epochs=4, inputs="rows,ranks").fit(fit)
    fewer = held_out.select(["model-0", "model-2"])
    view = ChannelReader.of(fewer.gallery, Layout(light.families_, fit.names), None).read(
        fewer.tile(0, fewer.n_queries)
    )
    arrays = light.learned_.arrays
    context = ColumnStatistics(arrays["context.mean"], arrays["context.std"])
    standardised = context.apply(view.context()[:, None])[:, 0].reshape(-1, 5, 3)
    standardised[:, :, 1] = 0
    expected = light.weights_[2].astype(np.float32) @ view.channels()
    expected += mean_score(arrays, view.channels(), standardised.reshape(len(expected), -1))
    scores = light.fuse(fewer).scores
    kept = np.isfinite(scores)
    np.testing.assert_allclose(scores[kept], expected[kept], atol=1e-5)
