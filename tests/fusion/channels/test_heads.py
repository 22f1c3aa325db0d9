"""Two heads of one fusion: what each learns, what is measured of which, what is saved."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.errors import FuserError
from dafm_core.evaluation.evaluate import evaluate, evaluate_run
from dafm_core.evaluation.tuning import SelectedFusion
from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.channels.together import scorers_together
from dafm_core.fusion.debiased import DebiasedFusion
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.fusion.logistic import LogisticFusion
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.fusion.static import MeanFusion
from dafm_core.metrics.spec import parse_metrics
from dafm_core.metrics.truth import Truth
from dafm_core.store.stack import SimilarityStack

LINEAR = {"network": "linear", "inputs": "rows,ranks"}
METRICS = ("recall@1", "recall@5", "rsubset@1", "rmean")


@pytest.fixture(scope="module")
def split(make_problem):
    """One model knows the gallery, another only what is in the subset."""
    dataset, _ = make_problem(n_queries=240, n_gallery=60)
    rng = np.random.default_rng(1)
    far, near = rng.normal(size=(2, 240, 60))
    subsets, targets = dataset.subsets, dataset.targets
    far[subsets.rows, subsets.values] += 3.0
    near[targets.rows, targets.values] += 2.0
    matrices = {"far": far.astype(np.float32), "near": near.astype(np.float32)}
    stack = SimilarityStack.from_matrices(matrices, dataset)
    return stack.split(test_size=0.5, seed=0)


@pytest.fixture(scope="module")
def fitted(split):
    return LightFusion(**LINEAR).fit(split[0])


def without_subsets(stack):
    nothing = pl.Series("subset", [[]] * stack.n_queries, dtype=pl.List(pl.String))
    dataset = replace(stack.dataset, queries=stack.dataset.queries.with_columns(nothing))
    matrices = [matrix[stack.rows] for matrix in stack.matrices]
    return SimilarityStack.from_matrices(dict(zip(stack.names, matrices, strict=True)), dataset)


def test_together_a_subset_head_scores_the_members_as_it_does_among_all(split, fitted):
    test = split[1].take_queries(split[1].query_ids[:40])
    fit = split[0].remembering()  # one bank for all
    light = LightFusion(network="linear").fit(fit)
    fusers = [DebiasedFusion().fit(fit), light, LogisticFusion().fit(fit), MeanFusion(), fitted]
    heads = [fuser.heads for fuser in fusers]
    rows, tile = slice(8, 20), test.tile(8, 20)
    members = test.dataset.subsets.part(rows)
    here = np.zeros(tile[:, 0].shape, bool)
    here[members.rows, members.values] = True
    here &= ~np.isneginf(tile[:, 0])
    fused = scorers_together(fusers, test, heads)(rows, tile)
    assert [tuple(scores) for scores in fused] == heads
    assert [len(of_one) for of_one in heads] == [1, 2, 2, 1, 2]
    for fuser, scores in zip(fusers, fused, strict=True):
        alone = fuser.head_scorer(test, fuser.heads)(tile)
        np.testing.assert_array_equal(scores["gallery"], alone["gallery"])
        if "subset" in scores:
            np.testing.assert_allclose(scores["subset"][here], alone["subset"][here], atol=1e-5)
            assert np.isneginf(scores["subset"][~here]).all()


def test_each_head_is_what_its_objective_alone_would_learn(split, fitted):
    fit, _ = split
    assert fitted.heads == ("gallery", "subset")
    both = LightFusion(prior=1e-3, **LINEAR).fit(fit)
    for head in both.heads:
        alone = LightFusion(objective=head, prior=1e-3, **LINEAR).fit(fit)
        assert alone.heads == ("gallery",)
        weights = both.by_head_[head].arrays["weights"]
        np.testing.assert_allclose(weights, alone.weights_, atol=0.01)
    assert fitted.learned_ is fitted.by_head_["gallery"]


def test_each_metric_is_of_the_head_that_ranks_what_it_measures(split, fitted):
    _, held_out = split
    found = evaluate(fitted, held_out, metrics=METRICS)
    assert found.heads == ("gallery", "subset")
    dataset = held_out.dataset
    scores = {
        head: np.concatenate([fitted.scorer(held_out, head=head)(t) for _, t in held_out.tiles()])
        for head in fitted.heads
    }
    first_of_five = within_first = 0
    for i, (target,) in enumerate(dataset.targets):  # counted by hand
        gallery = scores["gallery"][i]
        first_of_five += np.sum(gallery > gallery[target]) < 5
        rivals = scores["subset"][i][list(dataset.subsets[i])]
        within_first += np.sum(rivals > scores["subset"][i][target]) == 0
    n = dataset.n_queries
    assert found.values["recall@5"] == pytest.approx(first_of_five / n)
    assert found.values["rsubset@1"] == pytest.approx(within_first / n)
    assert found.values["rmean"] == pytest.approx((first_of_five + within_first) / 2 / n)


def test_two_heads_lose_nothing_to_one_that_must_compromise(split, fitted):
    fit, held_out = split
    one = evaluate(LightFusion(objective="weighted", **LINEAR).fit(fit), held_out, metrics=METRICS)
    two = evaluate(fitted, held_out, metrics=METRICS)
    assert one.heads == ("gallery",)
    assert two.values["rmean"] > one.values["rmean"]


def test_a_run_has_both_scores_and_is_measured_as_its_fuser(split, fitted):
    _, held_out = split
    run = fitted.fuse(held_out)
    expected = evaluate(fitted, held_out, metrics=METRICS)
    got = evaluate_run(run, held_out.dataset, metrics=METRICS)
    assert got.heads == expected.heads
    np.testing.assert_array_equal(got.per_query, expected.per_query)
    assert MeanFusion().fuse(held_out).subset_scores is None


def test_queries_without_subsets_have_one_head(split):
    fit, held_out = (without_subsets(part) for part in split)
    fitted = LightFusion(**LINEAR).fit(fit)
    assert fitted.heads == ("gallery",)
    assert fitted.fuse(held_out).subset_scores is None
    gallery, subset = (fitted.scorer(held_out, head=head) for head in ("gallery", "subset"))
    tile = held_out.tile(0, 4)
    np.testing.assert_array_equal(gallery(tile), subset(tile))


def test_a_gallery_without_subsets_is_fused_by_the_gallery_head(split, fitted):
    _, held_out = split
    plain = without_subsets(held_out)
    np.testing.assert_array_equal(fitted.fuse(plain).scores, fitted.fuse(held_out).scores)
    assert evaluate(fitted, plain, metrics=["recall@1"]).heads == ("gallery",)


def test_both_heads_are_saved_and_one_of_an_older_format_is_read(split, fitted, tmp_path):
    fit, held_out = split
    again = load_fuser(save_fuser(fitted, tmp_path / "two"))
    tile = held_out.tile(0, 9)
    for head in fitted.heads:
        np.testing.assert_array_equal(
            again.scorer(held_out, head=head)(tile), fitted.scorer(held_out, head=head)(tile)
        )
    one = LightFusion(objective="weighted", **LINEAR).fit(fit)
    facts = save_fuser(one, tmp_path / "one") / "fuser.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"format_version": 2}))
    old = load_fuser(tmp_path / "one")
    assert old.heads == ("gallery",)
    np.testing.assert_array_equal(old.fuse(held_out).scores, one.fuse(held_out).scores)


def test_a_fuser_that_chooses_has_the_heads_of_its_choice(split):
    fit, held_out = split
    chosen = SelectedFusion(candidates={"only": LightFusion(**LINEAR)}).fit(fit)
    assert chosen.heads == ("gallery", "subset")
    expected = LightFusion(**LINEAR).fit(fit).fuse(held_out).subset_scores
    np.testing.assert_array_equal(chosen.fuse(held_out).subset_scores, expected)


def test_examples_within_subsets_hold_the_members_and_the_target(split):
    fit, _ = split
    examples = make_examples(fit, ("rows",), n_hard=3, n_uniform=5, seed=0)
    within = examples.within_subsets()
    assert within.channels.shape[2] == within.in_subset.sum(axis=1).max() == 5
    for row in range(len(examples)):
        members = np.flatnonzero(examples.in_subset[row])
        kept = np.isfinite(within.log_weight[row])
        np.testing.assert_array_equal(
            within.channels[row][:, kept], examples.channels[row][:, members]
        )
        assert members[within.target[row]] == examples.target[row]


def test_a_subset_ranked_by_other_scores_leaves_the_gallery_alone(split, rng):
    _, held_out = split
    truth = Truth.of(held_out.dataset)
    one, other = rng.normal(size=(2, held_out.n_queries, held_out.n_gallery))
    metrics = parse_metrics(["recall@5", "rsubset@1"])
    both = truth.measure(one, metrics, subset_scores=other)
    np.testing.assert_array_equal(both[:, 0], truth.measure(one, metrics)[:, 0])
    np.testing.assert_array_equal(both[:, 1], truth.measure(other, metrics)[:, 1])


def test_fewer_labels_on_the_same_bank_are_learned_from_without_a_new_fit(split, tmp_path):
    fit, held_out = split
    options = {"network": "linear", "inputs": "restandardized,ranks"}
    light = LightFusion(**options).fit(fit)
    everything = light.with_labels(set(fit.dataset.groups))
    np.testing.assert_array_equal(everything.fuse(held_out).scores, light.fuse(held_out).scores)
    few = light.with_labels(fit.dataset.groups[:40])
    assert few.heads == light.heads
    assert not np.allclose(few.weights_, light.weights_)
    np.testing.assert_array_equal(few.bank_.statistics.mean, light.bank_.statistics.mean)
    with pytest.raises(FuserError, match="no example of these groups"):
        load_fuser(save_fuser(light, tmp_path / "m")).with_labels(fit.dataset.groups[:40])
