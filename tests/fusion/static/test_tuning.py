"""What all static rules share: settings, defaults, what they have seen, scale and shift."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import FuserError
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.fusion.static import (
    BestSingle,
    MarginFusion,
    MaxFusion,
    MeanFusion,
    VotingFusion,
    WeightedFusion,
)
from dafm_core.fusion.static.tuning import measure_settings, tuning_metrics
from dafm_core.ground.ids import Ids
from dafm_core.store.gallery import Gallery
from dafm_core.store.shortlist import Shortlist
from dafm_core.store.stack import SimilarityStack

RULES = [
    BestSingle(),
    MeanFusion(),
    MaxFusion(),
    VotingFusion("borda"),
    VotingFusion("rrf"),
    VotingFusion("majority"),
    MarginFusion(),
]


@pytest.fixture
def stack(make_problem):
    return make_problem()[1]


@pytest.fixture
def blind(stack):
    """The stack without targets, subsets and exclusions."""
    rows = stack.dataset.queries.drop("targets", "subset", "excluded").to_dicts()
    dataset = replace(stack.dataset, queries=query_frame(rows, where="x"))
    return replace(stack, dataset=dataset)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_fit_keeps_the_setting_that_ranks_training_queries_best(rule, stack):
    metrics = tuning_metrics(stack.dataset, None)
    values = measure_settings({"r": rule}, stack, metrics)["r"].mean(axis=(0, 2))
    fitted = rule.clone().fit(stack)
    assert values[fitted.settings(stack.gallery).index(fitted.setting_)] == values.max()
    direct = evaluate(fitted, stack, allow_fitted=True).per_query.mean()
    assert direct == pytest.approx(values.max())


def test_settings_are_measured_on_shortlists_as_they_are_fused(stack):
    scores = stack.matrices[0]
    best = np.argsort(-scores, axis=1)[:, :10]
    listed = np.take_along_axis(scores, best, axis=1)
    matrices = {
        "model-0": Shortlist.of_lists(list(best), list(listed), stack.n_gallery),
        "model-1": stack.matrices[1],
    }
    partial = SimilarityStack.from_matrices(matrices, stack.dataset)
    metrics = tuning_metrics(stack.dataset, None)
    rule = MeanFusion(normalize="rank")
    values = measure_settings({"r": rule}, partial, metrics)["r"][:, 0]
    np.testing.assert_allclose(values, evaluate(rule, partial).per_query)


def test_queries_without_a_target_are_not_tuned_on_and_not_seen(stack):
    rows = stack.dataset.queries.to_dicts()
    for row in rows[:50]:
        row["targets"] = []
    partly = replace(stack, dataset=replace(stack.dataset, queries=query_frame(rows, where="x")))
    ten = stack.take_queries(stack.query_ids[50:])
    for rule in RULES[1:]:
        one, two = rule.clone().fit(partly), rule.clone().fit(ten)
        assert one.setting_ == two.setting_
        assert one.record_.query_ids == two.record_.query_ids


def test_defaults_hold_before_fit_and_without_targets(stack, blind):
    for rule, explicit in [
        (MeanFusion(), MeanFusion(normalize="zscore")),
        (MaxFusion(), MaxFusion(normalize="zscore")),
        (VotingFusion("rrf"), VotingFusion("rrf", constant=60)),
        (VotingFusion("majority"), VotingFusion("majority", constant=10)),
        (MarginFusion(), MarginFusion(sharpness=1)),
    ]:
        expected = explicit.fuse(stack).scores
        np.testing.assert_array_equal(rule.fuse(stack).scores, expected)
        np.testing.assert_array_equal(rule.fit(blind).fuse(stack).scores, expected)
        assert rule.record_.query_ids == frozenset()


def test_rules_without_a_default_say_that_they_need_targets(stack, blind):
    with pytest.raises(FuserError, match="BestSingle is not fitted"):
        BestSingle().fuse(stack)
    for rule in (BestSingle(), WeightedFusion()):
        with pytest.raises(FuserError, match="no training query has a target"):
            rule.fit(blind)


def test_a_rule_with_nothing_to_choose_has_seen_nothing(stack):
    assert MeanFusion(normalize="rank").fit(stack).record_.query_ids == frozenset()
    assert MeanFusion().fit(stack).record_.query_ids == frozenset(stack.query_ids)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), scale=st.sampled_from([0.25, 1.0, 8.0]), shift=st.integers(-4, 4)
)
def test_row_normalisation_ignores_scale_and_shift(seed, scale, shift):
    rng = np.random.default_rng(seed)
    tile = (rng.integers(-8, 8, (3, 2, 9)) / 4).astype(np.float32)
    moved = tile.copy()
    moved[:, 0] = moved[:, 0] * scale + shift
    gallery = Gallery(names=("a", "b"), ids=Ids(f"img{j}" for j in range(9)))
    for rule in (MeanFusion(), MaxFusion(), MarginFusion(), VotingFusion("rrf")):
        score = rule.scorer(gallery)
        np.testing.assert_allclose(score(moved), score(tile), rtol=1e-4, atol=1e-5)
