"""LightFusion: the laws, the default against singles and means, banks, lost providers, edges."""

import logging
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from dafm_core.datasets.base import Dataset, query_frame
from dafm_core.errors import AlignmentError, FuserError, LeakageError, OptionError
from dafm_core.evaluation.evaluate import evaluate, evaluate_providers
from dafm_core.fusion.light.fuser import LightFusion, light_paper
from dafm_core.fusion.light.options import PRESETS
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.scoring.neighbours import nearest_neighbours
from dafm_core.store.stack import SimilarityStack

QUICK = {"n_seeds": 1, "n_epochs": 2}


@pytest.fixture
def problem(make_problem, rng):
    dataset, stack = make_problem(n_queries=400, n_gallery=80, noise=(1.5, 2.0, 2.5))
    near = nearest_neighbours(rng.normal(size=(80, 4)).astype(np.float32))
    return dataset, replace(stack, neighbours={"model-0": near})


@pytest.fixture
def split(problem):
    dataset, stack = problem
    return *dataset.split(test_size=0.25, seed=0), stack


def rebuilt(stack, matrices=None, **changes):
    """Return the stack with other matrices, as if scored anew."""
    settings = {
        "protocol": stack.protocol,
        "query_ids": stack.query_ids,
        "gallery_ids": stack.gallery_ids,
        "excluded": stack.excluded,
        "neighbours": stack.neighbours,
    }
    matrices = matrices or dict(zip(stack.names, stack.matrices, strict=True))
    return SimilarityStack.from_matrices(matrices, **settings | changes)


def test_the_default_beats_every_single_and_their_mean(split):
    fit, held_out, stack = split
    light = LightFusion(**QUICK).fit(stack, fit)
    fused = evaluate(light, stack, held_out).values["recall@1"]
    singles = evaluate_providers(stack, held_out)
    assert fused > 0.05 + max(e.values["recall@1"] for e in singles.values())
    assert len(light.networks_) == 1
    assert light.bank_ is not None


def test_it_starts_at_the_linear_fusion_and_never_below(split):
    fit, held_out, stack = split
    part = stack.take_queries(held_out.query_ids)
    linear = LightFusion(network="linear").fit(stack, fit).fuse(part).scores
    start = LightFusion(n_epochs=0, n_seeds=1).fit(stack, fit).fuse(part).scores
    np.testing.assert_allclose(start, linear, rtol=1e-5)


def test_permuting_the_gallery_permutes_the_scores(split, rng):
    fit, _, stack = split
    light = LightFusion(**QUICK).fit(stack, fit)
    order = rng.permutation(stack.n_gallery)
    shuffled = stack.take_gallery([stack.gallery_ids[j] for j in order])
    scores = light.fuse(stack).scores
    np.testing.assert_allclose(light.fuse(shuffled).scores, scores[:, order], atol=1e-4)
    again = LightFusion(**QUICK).fit(shuffled, fit)
    np.testing.assert_allclose(again.fuse(stack).scores, scores, atol=5e-3)


def test_the_papers_preset_alone_depends_on_the_order(split, rng):
    fit, _, stack = split
    paper = light_paper().fit(stack, fit)
    order = rng.permutation(stack.n_gallery)
    shuffled = stack.take_gallery([stack.gallery_ids[j] for j in order])
    assert not np.allclose(paper.fuse(shuffled).scores, paper.fuse(stack).scores[:, order])


def test_neither_order_nor_offset_nor_scale_of_providers_matters(split):
    fit, _, stack = split
    expected = LightFusion(**QUICK).fit(stack, fit).fuse(stack).scores
    moved = {
        name: matrix * np.float32(k + 1.5) - np.float32(k)
        for k, (name, matrix) in enumerate(zip(stack.names, stack.matrices, strict=True))
    }
    other = rebuilt(stack, dict(reversed(moved.items())))
    found = LightFusion(**QUICK).fit(other, fit).fuse(other).scores
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(split):
    fit, _, stack = split
    one, two, other = (LightFusion(seed=s, **QUICK).fit(stack, fit) for s in (3, 3, 4))
    np.testing.assert_array_equal(one.fuse(stack).scores, two.fuse(stack).scores)
    assert not np.array_equal(one.fuse(stack).scores, other.fuse(stack).scores)


def test_a_row_does_not_depend_on_its_tile(split):
    fit, _, stack = split
    light = LightFusion(**QUICK).fit(stack, fit)
    whole = light.fuse(stack).scores
    alone = light.fuse(stack.take_queries(stack.query_ids[7:8])).scores
    np.testing.assert_allclose(alone[0], whole[7], atol=1e-5)


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_saving_keeps_every_bit(split, tmp_path, preset):
    fit, _, stack = split
    light = LightFusion(preset=preset, **QUICK).fit(stack, fit)
    again = load_fuser(save_fuser(light, tmp_path / "model"))
    np.testing.assert_array_equal(again.fuse(stack).scores, light.fuse(stack).scores)
    assert again.history_ == light.history_
    assert again.params() == light.params()


def test_a_saved_fusion_outlives_a_change_of_the_defaults(split, tmp_path, monkeypatch):
    fit, _, stack = split
    light = LightFusion(n_seeds=1, n_epochs=1).fit(stack, fit)
    folder = save_fuser(light, tmp_path / "model")
    wider = replace(PRESETS["default"], n_hidden=PRESETS["default"].n_hidden + 1)
    monkeypatch.setitem(PRESETS, "default", wider)
    again = load_fuser(folder)
    np.testing.assert_array_equal(again.fuse(stack).scores, light.fuse(stack).scores)


def test_history_and_progress_tell_how_training_went(split):
    fit, _, stack = split
    light, told = LightFusion(n_seeds=2, n_epochs=2), []
    light.on_progress = lambda *step: told.append(step)
    light.fit(stack, fit)
    assert told[0] == ("network 1 of 2", 0, 2)
    for history in light.history_:
        assert {"epoch", "validation_loss", "recall@1", "recall@10"} == set(history[0])
        assert all(record["temperature"] == 1.0 for record in history if "loss" in record)


def test_progress_is_complete_where_a_network_stops_early(split):
    fit, _, stack = split
    light, told = LightFusion(n_seeds=1, n_epochs=200, learning_rate=0.3), []
    light.on_progress = lambda *step: told.append(step)
    light.fit(stack, fit)
    _, done, total = told[-1]
    assert done == total < 200


def test_a_lost_provider_is_done_without(split, caplog):
    fit, held_out, stack = split
    light = LightFusion(**QUICK).fit(stack, fit)
    for n in (2, 1):
        for names in combinations(stack.names, n):
            fewer = stack.select(names)
            fused = evaluate(light, fewer, held_out).values["recall@5"]
            singles = evaluate_providers(fewer, held_out)
            assert fused >= max(e.values["recall@5"] for e in singles.values()) - 0.02
    assert "fusing without model-0, which it was fitted on" in caplog.text
    with pytest.raises(AlignmentError, match="expected providers model-0, model-1, model-2"):
        light_paper().fit(stack, fit).fuse(stack.select(["model-1"]))
    stranger = rebuilt(stack, {"stranger": stack.matrices[0]})
    with pytest.raises(AlignmentError, match="got stranger"):
        light.fuse(stranger)


def test_without_the_neighbours_it_was_fitted_with_it_still_ranks(split):
    fit, held_out, stack = split
    light = LightFusion(**QUICK).fit(stack, fit)
    bare = replace(stack, neighbours={})
    singles = evaluate_providers(bare, held_out)
    fused = evaluate(light, bare, held_out).values["recall@1"]
    assert fused > max(e.values["recall@1"] for e in singles.values())


def test_a_new_gallery_needs_a_bank_or_does_without_one(split, caplog):
    fit, held_out, stack = split
    light = LightFusion(**QUICK).fit(stack, fit)
    ids = [f"new-{i}" for i in stack.gallery_ids]
    other = rebuilt(stack, gallery_ids=ids)
    test = other.take_queries(held_out.query_ids)
    without = light.fuse(test).scores
    assert "the bank knows another gallery" in caplog.text
    bank = other.take_queries(fit.query_ids)
    with_bank = light.with_bank(bank).fuse(test).scores
    np.testing.assert_allclose(
        with_bank, light.fuse(stack.take_queries(held_out.query_ids)).scores, atol=1e-4
    )
    assert not np.allclose(without, with_bank)
    assert light.fuse(stack.take_queries(held_out.query_ids)) is not None  # the first is unchanged


def test_a_bank_that_does_not_fit_is_refused(split):
    fit, held_out, stack = split
    light = LightFusion(**QUICK).fit(stack, fit)
    test = stack.take_queries(held_out.query_ids)
    bank = stack.take_queries(fit.query_ids)
    with pytest.raises(AlignmentError, match=r"with_bank: expected providers .*, got stranger"):
        light.with_bank(rebuilt(stack, {"stranger": stack.matrices[0]}))
    with pytest.raises(AlignmentError, match="bank: expected providers"):
        light.with_bank(bank.select(["model-0"])).fuse(test)
    with pytest.raises(AlignmentError, match="no scores of gallery image"):
        light.with_bank(bank.take_gallery(stack.gallery_ids[1:])).fuse(test)
    with pytest.raises(LeakageError, match=r"holds 1 of the queries to fuse, e\.g\. 'q"):
        light.with_bank(stack.take_queries([*fit.query_ids, held_out.query_ids[0]])).fuse(test)


def test_too_few_queries_give_the_linear_fusion_and_say_so(problem, caplog):
    dataset, stack = problem
    few = dataset.take(dataset.query_ids[:40])
    light = LightFusion().fit(stack, few)
    assert light.networks_ == []
    assert "40 training examples in 10 groups support no more than the linear fusion" in caplog.text
    one = LightFusion().fit(stack, dataset.take(dataset.query_ids[:1]))
    assert np.isfinite(one.weights_).all()


def test_degenerate_providers_are_defined(problem):
    dataset, stack = problem
    first = stack.matrices[0]
    flat = np.full_like(first, 0.3)
    for matrices in ({"a": first}, {"a": first, "b": first}, {"a": first, "flat": flat}):
        other = rebuilt(stack, matrices, neighbours={})
        light = LightFusion(**QUICK).fit(other, dataset)
        scores = light.fuse(other).scores
        assert np.isneginf(scores[stack.excluded.rows, stack.excluded.values]).all()
        assert np.isfinite(scores).sum() == scores.size - len(stack.excluded.values)
        values = evaluate(light, other, dataset, allow_fitted=True).values["recall@1"]
        single = evaluate_providers(other, dataset)["a"].values["recall@1"]
        assert values > 0.9 * single


def test_a_provider_of_noise_costs_next_to_nothing(split, rng):
    fit, held_out, stack = split
    noise = rng.normal(size=stack.matrices[0].shape).astype(np.float32)
    matrices = dict(zip(stack.names, stack.matrices, strict=True))
    noisy = rebuilt(stack, matrices | {"noise": noise})
    clean = evaluate(LightFusion(**QUICK).fit(stack, fit), stack, held_out).values["recall@5"]
    fused = evaluate(LightFusion(**QUICK).fit(noisy, fit), noisy, held_out).values["recall@5"]
    assert fused > clean - 0.04


def test_targets_outside_the_gallery_are_not_learned_from(problem):
    dataset, stack = problem
    rows = dataset.queries.to_dicts()
    for row in rows[:5]:
        row["targets"] = ["nowhere"]
    partly = replace(dataset, queries=query_frame(rows, where="toy"))
    assert np.isfinite(LightFusion(**QUICK).fit(stack, partly).weights_).all()
    for row in rows:
        row["targets"] = ["nowhere"]
    none = Dataset(
        protocol=dataset.protocol,
        gallery_ids=dataset.gallery_ids,
        queries=query_frame(rows, where="toy"),
    )
    with pytest.raises(FuserError, match="no training query has a target in the gallery"):
        LightFusion().fit(stack, none)


def test_groups_of_one_and_queries_without_subsets_are_fine(problem):
    dataset, stack = problem
    rows = [row | {"group": row["query_id"], "subset": []} for row in dataset.queries.to_dicts()]
    alone = replace(dataset, queries=query_frame(rows, where="toy"))
    light = LightFusion(**QUICK).fit(stack, alone)
    assert len(light.networks_) == 1


@pytest.mark.parametrize("rule", ["paper", "adaptive", "learned"])
def test_every_temperature_rule_trains(split, rule):
    fit, _, stack = split
    light = LightFusion(temperature_rule=rule, **QUICK).fit(stack, fit)
    taus = [record["temperature"] for record in light.history_[0] if "loss" in record]
    assert len(set(taus)) > 1


@pytest.mark.parametrize("objective", ["gallery", "subset"])
def test_objectives_pull_apart(split, objective):
    fit, held_out, stack = split
    light = LightFusion(objective=objective, network="linear").fit(stack, fit)
    assert evaluate(light, stack, held_out).values["recall@1"] > 0.2


def test_exact_and_sampled_training_agree(split):
    fit, held_out, stack = split
    values = [
        evaluate(LightFusion(candidates=c, network="linear").fit(stack, fit), stack, held_out)
        for c in ("exact", "sampled")
    ]
    one, two = (v.values["recall@5"] for v in values)
    assert one == pytest.approx(two, abs=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "papr"}, r"no preset 'papr'; did you mean 'paper'\?"),
        ({"network": "deep"}, "no network 'deep'"),
        ({"inputs": "row"}, "no input 'row'; did you mean 'rows'"),
        ({"n_epochs": -1}, "expected n_epochs >= 0, got -1"),
        ({"temperature": 0.0}, "temperature and temperature_scale > 0"),
        ({"temperature_rule": "fixd"}, "no temperature_rule 'fixd'; did you mean 'fixed'"),
        ({"n_hidden": 0}, "expected n_hidden >= 1"),
    ],
)
def test_options_are_checked_when_given(options, message):
    with pytest.raises(OptionError, match=message):
        LightFusion(**options)


def test_warnings_are_logged_not_raised(problem, caplog):
    dataset, stack = problem
    with caplog.at_level(logging.WARNING):
        LightFusion().fit(stack, dataset.take(dataset.query_ids[:8]))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
