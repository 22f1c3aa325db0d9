"""The shell that fusions over channels share: banks, lost providers, neighbours, live queries.

LambdaMART, which is a plugin, has tests of the same laws beside it.
"""

from dataclasses import replace

import numpy as np
import pytest

from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import AlignmentError, FuserError, LeakageError, OptionError
from dafm_core.evaluation.crossfit import fit_and_evaluate
from dafm_core.evaluation.design import Folds
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.fusion.channels.bank import QueryBank
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.view import ChannelReader
from dafm_core.fusion.debiased import DebiasedFusion
from dafm_core.fusion.light.doubt import doubted_score, from_arrays
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.fusion.light.linear import smallest_holding
from dafm_core.fusion.logistic import LogisticFusion
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.ground.ids import Ids
from dafm_core.scoring.neighbours import nearest_neighbours
from dafm_core.store.shortlist import Shortlist
from dafm_core.store.stack import SimilarityStack

NETWORKS = LightFusion(n_seeds=2, n_epochs=2)
LINEAR = LightFusion(network="linear")
LOGISTIC = LogisticFusion()
DEBIASED = DebiasedFusion()


@pytest.fixture(scope="module")
def stack(make_problem):
    """300 queries against 60 candidates whose neighbours one of three providers knows."""
    _, stack = make_problem(n_queries=300, n_gallery=60, noise=(1.5, 2.0, 2.5))
    features = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    neighbours = {"model-0": nearest_neighbours(features)}
    return replace(stack, gallery=replace(stack.gallery, neighbours=neighbours))


@pytest.fixture(scope="module")
def parts(stack):
    """Training queries (240), queries to fuse, and queries for a bank of their own."""
    fit, rest = stack.split(test_size=0.2, seed=0)
    return fit, *rest.split(seed=0)


@pytest.fixture(
    scope="module",
    params=[NETWORKS, LINEAR, LOGISTIC, DEBIASED],
    ids=["networks", "linear", "logistic", "debiased"],
)
def fitted(request, parts):
    return request.param.clone().fit(parts[0])


@pytest.fixture(
    scope="module", params=[LINEAR, LOGISTIC, DEBIASED], ids=["light", "logistic", "debiased"]
)
def linear(request, parts):
    """A fusion without networks: its scores are weights times channels."""
    return request.param.clone().fit(parts[0])


def without_neighbours(stack):
    return replace(stack, gallery=replace(stack.gallery, neighbours={}))


def elsewhere(stack):
    """Return the same scores, of other images."""
    rows = [
        row | {name: [f"new-{i}" for i in row[name]] for name in ("targets", "subset", "excluded")}
        for row in stack.dataset.queries.to_dicts()
    ]
    ids = Ids(f"new-{i}" for i in stack.gallery_ids)
    dataset = replace(stack.dataset, gallery_ids=ids, queries=query_frame(rows, where="toy"))
    return replace(stack, dataset=dataset, gallery=replace(stack.gallery, ids=ids))


def weighted(weights, fitted, stack, bank):
    """Return weights times channels; a channel that is not known is zero. LightFusion's weights say
    how far they are in doubt.
    """
    layout = Layout(fitted.families_, fitted.record_.providers)
    tile = stack.tile(0, stack.n_queries)
    reader = ChannelReader.of(stack.gallery, layout, bank)
    channels = reader.read(tile).channels()
    scores = weights.astype(np.float32) @ channels
    if isinstance(fitted, LightFusion):
        arrays = fitted.learned_.arrays
        doubt = from_arrays(arrays, smallest_holding(arrays["provider_sets"], reader.present_mask))
        known = doubt.knowing(reader.available)
        scores = doubted_score(known, weights.astype(np.float32), channels)
    return np.where(np.isfinite(tile[:, 0]), scores, -np.inf)


def weights_without(fitted, name):
    """Return the weights to use without a provider."""
    present = np.array([other != name for other in fitted.record_.providers])
    if isinstance(fitted, LogisticFusion):
        return fitted.weights_
    if isinstance(fitted, DebiasedFusion):
        by_family = [fitted.options.flat()[family] for family in fitted.families_]
        return np.repeat(by_family, len(present)) / present.sum()
    sets = fitted.learned_.arrays["provider_sets"]
    return fitted.weights_[smallest_holding(sets, present)]


def assert_defined(scores, stack):
    excluded = np.zeros(scores.shape, bool)
    excluded[stack.dataset.excluded.rows, stack.dataset.excluded.values] = True
    assert np.isneginf(scores[excluded]).all()
    assert np.isfinite(scores[~excluded]).all()


def saved(fuser, tmp_path):
    return load_fuser(save_fuser(fuser, tmp_path / "model"))


def test_a_live_query_is_scored_as_it_is_in_a_stack(fitted, parts):
    _, test, _ = parts
    expected, score = fitted.fuse(test).scores, fitted.scorer(test.gallery)
    for row in (0, 5, test.n_queries - 1):
        np.testing.assert_allclose(score(test.tile(row, row + 1))[0], expected[row], atol=1e-6)


def test_a_saved_fusion_gives_the_same_bits_and_remembers_the_fit(fitted, parts, tmp_path):
    _, test, _ = parts
    again = saved(fitted, tmp_path)
    np.testing.assert_array_equal(again.fuse(test).scores, fitted.fuse(test).scores)
    assert again.record_ == fitted.record_
    assert again.params() == fitted.params()
    assert again.clone().options == fitted.options


def test_a_gallery_the_bank_does_not_know_is_fused_without_a_bank(linear, parts, caplog):
    _, test, _ = parts
    other = elsewhere(test)
    scores = linear.fuse(other).scores
    assert f"{linear.name}: the bank knows another gallery" in caplog.text
    weights = weights_without(linear, None)
    np.testing.assert_allclose(scores, weighted(weights, linear, other, None), atol=1e-5)
    assert not np.allclose(scores, linear.fuse(test).scores, atol=0.01)


def test_networks_add_nothing_where_the_bank_they_learned_with_is_missing(parts, caplog):
    fit, test, _ = parts
    other = elsewhere(test)
    one, two = (fuser.clone().fit(fit).fuse(other).scores for fuser in (NETWORKS, LINEAR))
    np.testing.assert_array_equal(one, two)
    assert caplog.text.count("the bank knows another gallery") == 2


def test_another_bank_is_what_a_new_gallery_needs(fitted, parts, caplog):
    fit, test, _ = parts
    expected = fitted.fuse(test).scores
    there = fitted.with_bank(elsewhere(fit)).fuse(elsewhere(test)).scores
    np.testing.assert_allclose(there, expected, atol=1e-4)
    np.testing.assert_array_equal(fitted.fuse(test).scores, expected)  # the first is unchanged
    assert caplog.text == ""


def test_another_bank_outlives_saving(fitted, parts, tmp_path):
    _, test, other = parts
    moved = fitted.with_bank(elsewhere(other))
    again = saved(moved, tmp_path)
    assert again.record_.bank_ids == set(other.query_ids)
    there = elsewhere(test)
    np.testing.assert_array_equal(again.fuse(there).scores, moved.fuse(there).scores)


def test_another_bank_that_does_not_fit_is_refused(fitted, parts, stack):
    _, test, other = parts
    stranger = replace(
        other, gallery=replace(other.gallery, names=("model-0", "model-1", "stranger"))
    )
    with pytest.raises(AlignmentError, match=r"with_bank: expected providers .*, stranger"):
        fitted.with_bank(stranger)
    with pytest.raises(AlignmentError, match="bank: expected providers"):
        fitted.with_bank(other.select(["model-0"])).fuse(test)
    with pytest.raises(AlignmentError, match="no scores of gallery image"):
        fitted.with_bank(other.take_gallery(other.gallery_ids[1:])).fuse(test)
    mixed = stack.take_queries([*other.query_ids, test.query_ids[0]])
    with pytest.raises(LeakageError, match=r"holds 1 of the queries to fuse, e\.g\. 'q"):
        fitted.with_bank(mixed).fuse(test)


def test_a_fusion_whose_inputs_need_no_bank_takes_none(parts):
    fit, _, other = parts
    fitted = LightFusion(network="linear", inputs="rows,ranks").fit(fit)
    with pytest.raises(OptionError, match="LightFusion: has no query bank"):
        fitted.with_bank(other)
    with pytest.raises(FuserError, match="LightFusion is not fitted"):
        LightFusion().with_bank(other)


@pytest.mark.parametrize("lost", ["model-1", "model-2"])
def test_a_lost_provider_is_done_without(linear, parts, lost, caplog):
    _, test, _ = parts
    fewer = test.select([name for name in test.names if name != lost])
    scores = linear.fuse(fewer).scores
    assert f"{linear.name}: fusing without {lost}, which it was fitted on" in caplog.text
    assert caplog.text.count("WARNING") == 1
    weights = weights_without(linear, lost)
    np.testing.assert_allclose(scores, weighted(weights, linear, fewer, linear.bank_), atol=1e-5)


def test_any_provider_can_be_lost_and_even_all_but_one(fitted, parts, caplog):
    _, test, _ = parts
    for names in (["model-0", "model-1"], ["model-1", "model-2"], ["model-0"], ["model-2"]):
        caplog.clear()
        fewer = test.select(names)
        assert_defined(fitted.fuse(fewer).scores, fewer)
        lost = ", ".join(name for name in test.names if name not in names)
        assert f"fusing without {lost}, which it was fitted on" in caplog.text


def test_to_lose_a_provider_is_as_if_it_scored_all_candidates_alike(parts):
    fit, test, _ = parts
    fitted = LOGISTIC.clone().fit(fit)
    silent = replace(test, matrices=(*test.matrices[:2], np.zeros_like(test.matrices[2])))
    fewer = fitted.fuse(test.select(["model-0", "model-1"])).scores
    np.testing.assert_allclose(fitted.fuse(silent).scores, fewer, atol=1e-5)


def test_providers_it_was_not_fitted_on_are_refused(fitted, parts):
    _, test, _ = parts
    stranger = replace(
        test, gallery=replace(test.gallery, names=("model-0", "model-1", "stranger"))
    )
    with pytest.raises(AlignmentError, match="expected providers model-0, model-1, model-2, got"):
        fitted.fuse(stranger)


def test_without_neighbours_it_is_the_fusion_that_never_had_any(fitted, parts, tmp_path, caplog):
    fit, test, _ = parts
    bare = without_neighbours(test)
    scores = fitted.fuse(bare).scores
    assert f"{fitted.name}: no provider of this gallery knows neighbours" in caplog.text
    never = LINEAR if isinstance(fitted, LightFusion) else fitted  # networks are not used then
    expected = never.clone().fit(without_neighbours(fit))
    np.testing.assert_array_equal(scores, expected.fuse(bare).scores)
    caplog.clear()
    np.testing.assert_array_equal(saved(fitted, tmp_path).fuse(bare).scores, scores)
    assert f"{fitted.name}: no provider of this gallery knows neighbours" in caplog.text


def test_saving_before_neighbours_are_missing_changes_nothing(parts, tmp_path):
    fit, test, _ = parts
    bare = without_neighbours(test)
    for fresh in (LINEAR.clone(), LOGISTIC.clone()):
        again = saved(fresh.fit(fit), tmp_path)
        np.testing.assert_array_equal(again.fuse(bare).scores, fresh.fuse(bare).scores)


def test_neighbours_can_be_lost_with_the_provider_that_knows_them(fitted, parts, caplog):
    _, test, _ = parts
    fewer = test.select(["model-1", "model-2"])
    assert_defined(fitted.fuse(fewer).scores, fewer)
    assert "fusing without model-0" in caplog.text
    assert "knows neighbours" in caplog.text


def test_a_fusion_of_neighbours_alone_needs_them(parts, tmp_path):
    fit, test, _ = parts
    alone = LightFusion(network="linear", inputs="neighbours,neighbour-rows")
    with pytest.raises(FuserError, match="no provider knows neighbours"):
        alone.clone().fit(without_neighbours(fit))
    fitted = alone.fit(fit)
    again = saved(fitted, tmp_path)
    np.testing.assert_array_equal(again.fuse(test).scores, fitted.fuse(test).scores)
    for fuser in (fitted, again):
        with pytest.raises(AlignmentError, match="has learned from neighbours alone"):
            fuser.fuse(without_neighbours(test))


def test_a_bank_of_other_queries_is_theirs_alone_and_outlives_saving(fitted, parts, tmp_path):
    fit, test, other = parts
    banked = fitted.clone().fit(fit, bank=other)
    expected = QueryBank.of(other).statistics.mean
    np.testing.assert_array_equal(banked.bank_.statistics.mean, expected)
    assert banked.record_.bank_ids == set(other.query_ids)
    scores = banked.fuse(test).scores
    np.testing.assert_array_equal(saved(banked, tmp_path).fuse(test).scores, scores)
    assert not np.allclose(fitted.fuse(test).scores, scores, atol=0.01)


def test_folds_are_fitted_with_the_bank_that_is_given(linear, parts):
    fit, _, other = parts
    few = fit.take_queries(fit.query_ids[:80])
    folds = Folds(2).parts(few)
    with_bank = fit_and_evaluate(linear, few, folds, bank=other)[0]
    without = fit_and_evaluate(linear, few, folds)[0]
    assert with_bank.values != without.values
    by_hand = [linear.clone().fit(train, bank=other) for train, _ in folds]
    for fuser, (_, held_out) in zip(by_hand, folds, strict=True):
        rows = with_bank.frame["query_id"].is_in(list(held_out.query_ids))
        expected = evaluate(fuser, held_out).frame
        assert with_bank.frame.filter(rows).equals(expected)


def test_queries_of_a_bank_are_not_fused(linear, parts, tmp_path):
    fit, _, other = parts
    bank = other.take_queries(other.query_ids[1:])
    fitted = linear.clone().fit(fit, bank=bank)
    for fuser in (fitted, saved(fitted, tmp_path)):
        with pytest.raises(LeakageError, match="bank holds 1 of the queries"):
            evaluate(fuser, other.take_queries(other.query_ids[:2]))


def test_a_bank_without_a_provider_or_a_candidate_cannot_be_trained_with(linear, parts):
    fit, _, other = parts
    with pytest.raises(AlignmentError, match="bank: expected providers"):
        linear.clone().fit(fit, bank=other.select(["model-0"]))
    with pytest.raises(AlignmentError, match="no scores of gallery image"):
        linear.clone().fit(fit, bank=other.take_gallery(other.gallery_ids[1:]))


def test_another_bank_is_completed_as_the_one_given_to_fit_is(stack):
    """One provider lists its best fifteen only."""
    matrices = dict(zip(stack.names, stack.matrices, strict=True))
    scores = matrices["model-1"]
    best = np.argsort(-scores, axis=1)[:, :15]
    listed = np.take_along_axis(scores, best, axis=1)
    lists = Shortlist.of_lists(list(best), list(listed), stack.n_gallery)
    partial = SimilarityStack.from_matrices(matrices | {"model-1": lists}, stack.dataset)
    fit, rest = partial.split(test_size=0.2, seed=0)
    test, other = rest.split(seed=0)
    fitted = LINEAR.clone().fit(fit)
    assert_defined(fitted.fuse(test).scores, test)
    one = fitted.with_bank(other).bank_.statistics
    two = LINEAR.clone().fit(fit, bank=other).bank_.statistics
    np.testing.assert_array_equal(one.mean, two.mean)
    np.testing.assert_array_equal(one.std, two.std)
