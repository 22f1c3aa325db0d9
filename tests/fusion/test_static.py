"""Static rules: the laws, ranx on small lists, tuning, defaults, and the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dafm_core.datasets.base import query_frame
from dafm_core.errors import FuserError, OptionError
from dafm_core.evaluation.evaluate import evaluate, evaluate_providers
from dafm_core.fusion.static import (
    BestSingle,
    MarginFusion,
    MaxFusion,
    MeanFusion,
    VotingFusion,
    WeightedFusion,
)
from dafm_core.fusion.static.tuning import measure_settings, tuning_metrics


@pytest.fixture
def problem(make_problem):
    return make_problem()


FAMILIES = [
    BestSingle(),
    MeanFusion(),
    MaxFusion(),
    VotingFusion("borda"),
    VotingFusion("rrf"),
    VotingFusion("majority"),
    MarginFusion(),
]


@pytest.mark.parametrize("rule", FAMILIES, ids=lambda rule: type(rule).__name__)
def test_fit_keeps_the_setting_that_ranks_training_queries_best(rule, problem):
    dataset, stack = problem
    metrics = tuning_metrics(dataset, None)
    values = measure_settings({"r": rule}, stack, dataset, metrics)["r"].mean(axis=(0, 2))
    fitted = rule.fit(stack)
    assert values[fitted.settings(stack).index(fitted.setting_)] == values.max()
    direct = evaluate(fitted, stack, dataset, allow_fitted=True).per_query.mean()
    assert direct == pytest.approx(values.max())


def test_best_single_is_the_best_single(problem):
    dataset, stack = problem
    singles = evaluate_providers(stack, dataset)
    best = max(singles, key=lambda name: singles[name].values["recall@5"])
    fitted = BestSingle(objective="recall@5").fit(stack)
    assert fitted.provider_ == best
    np.testing.assert_array_equal(fitted.fuse(stack).scores, stack.select([best]).tile(0, 60)[:, 0])


def test_defaults_hold_before_fit_and_without_targets(problem):
    dataset, stack = problem
    unlabelled = dataset.queries.drop("targets", "subset", "excluded").to_dicts()
    nothing = query_frame(unlabelled, where="x")
    blind = type(dataset)(
        protocol=dataset.protocol, gallery_ids=dataset.gallery_ids, queries=nothing
    )
    for rule, explicit in [
        (MeanFusion(), MeanFusion(normalize="zscore")),
        (MaxFusion(), MaxFusion(normalize="zscore")),
        (VotingFusion("rrf"), VotingFusion("rrf", constant=60)),
        (VotingFusion("majority"), VotingFusion("majority", constant=10)),
        (MarginFusion(), MarginFusion(sharpness=1)),
    ]:
        expected = explicit.fuse(stack).scores
        np.testing.assert_array_equal(rule.fuse(stack).scores, expected)
        np.testing.assert_array_equal(rule.fit(stack, blind).fuse(stack).scores, expected)
        assert rule.record_.query_ids == frozenset()
    with pytest.raises(FuserError, match="not fitted"):
        BestSingle().fuse(stack)
    with pytest.raises(FuserError, match="no training query has a target"):
        BestSingle().fit(stack, blind)
    with pytest.raises(FuserError, match="no training query has a target"):
        WeightedFusion().fit(stack, blind)


def test_a_rule_with_nothing_to_choose_has_seen_nothing(problem):
    dataset, stack = problem
    assert MeanFusion(normalize="rank").fit(stack).record_.query_ids == frozenset()
    assert MeanFusion().fit(stack).record_.query_ids == frozenset(dataset.query_ids)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MeanFusion(normalize="zscor"),
        lambda: VotingFusion("bordo"),
        lambda: VotingFusion("rrf", constant=-1),
        lambda: VotingFusion("borda", constant=1),
        lambda: MarginFusion(sharpness=-1),
        lambda: WeightedFusion(normalize="l2"),
    ],
)
def test_unknown_options_are_refused(make):
    with pytest.raises(OptionError):
        make()


def by_hand(stack, combine):
    return np.stack([combine(stack.tile(q, q + 1)[0]) for q in range(stack.n_queries)])


def test_reciprocal_rank_by_hand(problem):
    _, stack = problem

    def rrf(scores):
        places = np.argsort(np.argsort(-scores, axis=1), axis=1) + 1
        return np.where(np.isneginf(scores[0]), -np.inf, (1 / (60 + places)).sum(axis=0))

    np.testing.assert_allclose(
        VotingFusion("rrf").fuse(stack).scores, by_hand(stack, rrf), rtol=1e-5
    )


def test_majority_counts_ballots_before_anything_else(problem):
    _, stack = problem

    def votes(scores):
        return (np.argsort(np.argsort(-scores, axis=1), axis=1) < 5).sum(axis=0)

    scores = VotingFusion("majority", constant=5).fuse(stack).scores
    kept = np.isfinite(scores)
    np.testing.assert_array_equal(np.floor(scores[kept]), by_hand(stack, votes)[kept])


def test_margin_trusts_the_surer_model():
    from dafm_core.fusion.static.margin import margins

    scaled = np.array([[[3.0, 0.0, -1.0], [1.0, 0.9, -1.0]]], np.float32)
    np.testing.assert_allclose(margins(scaled), [[3.0, 0.1]], rtol=1e-5)
    assert margins(scaled[..., :1]).tolist() == [[0.0, 0.0]]


@pytest.fixture
def small(make_problem):
    dataset, stack = make_problem(n_queries=8, n_gallery=12)
    import ranx

    runs = []
    for k, name in enumerate(stack.names):
        rows = {}
        for q, query_id in enumerate(stack.query_ids):
            scores = stack.tile(q, q + 1)[0, k]
            kept = np.isfinite(scores)
            ids = np.array(stack.gallery_ids)[kept]
            rows[query_id] = dict(
                zip(ids.tolist(), scores[kept].astype(float).tolist(), strict=True)
            )
        runs.append(ranx.Run(rows, name=name))
    return dataset, stack, runs


@pytest.mark.parametrize(
    ("fuser", "options"),
    [
        (MeanFusion(normalize="zscore"), {"method": "sum", "norm": "zmuv"}),
        (MeanFusion(normalize="minmax"), {"method": "sum", "norm": "min-max"}),
        (MaxFusion(normalize="zscore"), {"method": "max", "norm": "zmuv"}),
        (MaxFusion(normalize="minmax"), {"method": "max", "norm": "min-max"}),
        (MeanFusion(normalize="rank"), {"method": "sum", "norm": "borda"}),
        (VotingFusion("rrf"), {"method": "rrf", "norm": None}),
        (VotingFusion("borda"), {"method": "bordafuse", "norm": None}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else str(value["norm"]),
)
def test_ranks_like_ranx(small, fuser, options):
    import ranx

    _, stack, runs = small
    theirs = ranx.fuse(list(runs), **options).to_dict()
    ours = fuser.fuse(stack).scores
    for row, query_id in zip(ours, stack.query_ids, strict=True):
        ids = [stack.gallery_ids[c] for c in np.flatnonzero(np.isfinite(row))]
        mine = row[np.isfinite(row)].astype(float)
        other = np.array([theirs[query_id][image_id] for image_id in ids], float)
        apart = np.abs(mine[:, None] - mine) > 1e-5 * np.abs(mine).max()
        agree = np.sign(mine[:, None] - mine) == np.sign(other[:, None] - other)
        assert agree[apart].all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), scale=st.sampled_from([0.25, 1.0, 8.0]), shift=st.integers(-4, 4)
)
def test_row_normalisation_ignores_scale_and_shift(seed, scale, shift):
    rng = np.random.default_rng(seed)
    tile = (rng.integers(-8, 8, (3, 2, 9)) / 4).astype(np.float32)
    moved = tile.copy()
    moved[:, 0] = moved[:, 0] * scale + shift
    for rule in (MeanFusion(), MaxFusion(), MarginFusion(), VotingFusion("rrf")):
        score = rule.scorer(None)
        np.testing.assert_allclose(score(moved), score(tile), rtol=1e-4, atol=1e-5)
