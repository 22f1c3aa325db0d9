"""The label-free fusion: against loops over queries and candidates, and that no label matters.

What it shares with other fusions over channels is tested in ``channels/test_fuser.py``, the laws of
all fusers in ``tests/testing/test_core.py``.
"""

from dataclasses import replace

import numpy as np
import pytest

from dafm_core.comparison.compare import compare
from dafm_core.errors import LeakageError, OptionError
from dafm_core.evaluation.design import Folds
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.fusion.channels.agreement import agreement
from dafm_core.fusion.channels.layout import Layout
from dafm_core.fusion.channels.shared import shared_weights
from dafm_core.fusion.debiased import DebiasedFusion
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.fusion.static import MeanFusion, VotingFusion
from dafm_core.store.stack import SimilarityStack

WEIGHTS = {"ranks": 1.0, "reverse": 1.0, "topics": 1.0, "neighbours": 0.5}
KEPT_RANKS = (1, 2, 3, 5)
"""Of a bank of five queries: where reverse ranks are exact."""
EXCLUDED = -100.0
"""What an excluded cell of the bank counts as."""


@pytest.fixture
def toy(make_problem):
    """Five queries for the bank and three to fuse, 12 candidates, two providers, neighbours."""
    _, stack = make_problem(n_queries=8, n_gallery=12, noise=(1.0, 2.0), subset_size=3)
    rng = np.random.default_rng(1)
    neighbours = {
        "model-1": np.array([rng.permutation(np.delete(np.arange(12), i))[:8] for i in range(12)])
    }
    stack = replace(stack, gallery=replace(stack.gallery, neighbours=neighbours))
    return stack.take_queries(stack.query_ids[:5]), stack.take_queries(stack.query_ids[5:])


def standardised(row):
    """Return one provider's row of one query, standardised; excluded candidates stay -inf."""
    seen = [value for value in row if np.isfinite(value)]
    spread = np.std(seen)
    return [(value - np.mean(seen)) / spread if np.isfinite(value) else value for value in row]


def rows_of(stack, k):
    return [standardised(stack.tile(q, q + 1)[0, k].tolist()) for q in range(stack.n_queries)]


def column_statistics(rows, prior=10):
    """Return mean and standard deviation per candidate, drawn to 0 and 1 by ten queries."""
    pairs = []
    for column in zip(*rows, strict=True):
        seen = [value for value in column if np.isfinite(value)]
        trust = len(seen) / (len(seen) + prior)
        pairs.append((trust * np.mean(seen), np.sqrt(trust * np.var(seen) + 1 - trust)))
    return pairs


def log_ranks(row):
    """Return ``log(n / rank)``, its mean over candidates removed."""
    seen = [value for value in row if np.isfinite(value)]
    logs = [np.log(len(seen) / (1 + sum(other > value for other in seen))) for value in row]
    mean = np.mean([log for log, value in zip(logs, row, strict=True) if np.isfinite(value)])
    return [log - mean for log in logs]


def reverse_ranks(row, bank_rows):
    """Return ``log(B / (1 + n)) - 1``; straight lines between the scores of the ranks kept."""
    values = []
    for score, column in zip(row, zip(*bank_rows, strict=True), strict=True):
        best_first = sorted((max(value, EXCLUDED) for value in column), reverse=True)
        levels = [np.log(len(column) / rank) - 1 for rank in KEPT_RANKS]
        thresholds = [best_first[rank - 1] for rank in KEPT_RANKS]
        values.append(np.interp(score, thresholds[::-1], levels[::-1]))
    return values


def topics(row, bank_rows, statistics):
    """Return what of a row lies in the span of the bank's rows, all of them column-standardised."""

    def centred(values):
        pairs = zip(values, statistics, strict=True)
        return [(v - mean) / std if np.isfinite(v) else 0.0 for v, (mean, std) in pairs]

    basis = np.linalg.qr(np.array([centred(values) for values in bank_rows]).T)[0]
    projected = basis @ (basis.T @ np.array(centred(row)))
    return standardised(np.where(np.isfinite(row), projected, -np.inf).tolist())


def naive(bank, stack, weights, neighbours):
    """Return the fused scores by loops, in double precision."""
    fused = np.zeros((stack.n_queries, stack.n_gallery))
    for k in range(stack.n_providers):
        bank_rows = rows_of(bank, k) if bank is not None else None
        for q, row in enumerate(rows_of(stack, k)):
            evidence, views = row, {}
            if bank_rows is not None:
                statistics = column_statistics(bank_rows)
                pairs = zip(row, statistics, strict=True)
                evidence = standardised([(v - mean) / std for v, (mean, std) in pairs])
                views["reverse"] = reverse_ranks(row, bank_rows)
                views["topics"] = topics(row, bank_rows, statistics)
            views["ranks"] = log_ranks(evidence)
            if neighbours is not None:
                near = [[evidence[j] for j in nearest] for nearest in neighbours]
                views["neighbours"] = [np.where(np.isfinite(e), e, 0).mean() for e in near]
            for family, view in views.items():
                seen = np.where(np.isfinite(row), view, 0)
                fused[q] += weights[family] * seen / stack.n_providers
    fused[~np.isfinite(stack.tile(0, stack.n_queries)[:, 0])] = -np.inf
    return fused


def test_it_is_the_weighted_sum_of_views_made_by_loops(toy):
    bank, test = toy
    neighbours = test.gallery.neighbours["model-1"]
    expected = naive(bank, test, WEIGHTS, neighbours)
    np.testing.assert_allclose(DebiasedFusion().fit(bank).fuse(test).scores, expected, atol=1e-4)
    other = {"ranks": 1.0, "reverse": -0.2, "topics": 0.0, "neighbours": 0.0}
    fitted = DebiasedFusion(**other).fit(bank)
    np.testing.assert_allclose(
        fitted.fuse(test).scores, naive(bank, test, other, neighbours), atol=1e-4
    )


def test_without_a_bank_the_views_that_need_none_are_used_and_it_says_so(toy, caplog):
    _, test = toy
    scores = DebiasedFusion().fuse(test).scores
    expected = naive(None, test, WEIGHTS, test.gallery.neighbours["model-1"])
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert "DebiasedFusion: has no query bank" in caplog.text
    caplog.clear()
    bare = replace(test, gallery=replace(test.gallery, neighbours={}))
    ranks = naive(None, bare, WEIGHTS, None)
    np.testing.assert_allclose(DebiasedFusion().fuse(bare).scores, ranks, atol=1e-4)
    assert "DebiasedFusion: has no query bank" in caplog.text


def without_targets(stack):
    queries = stack.dataset.queries.to_dicts()
    blank = [row | {"targets": [], "subset": []} for row in queries]
    frame = type(stack.dataset.queries)(blank, schema=stack.dataset.queries.schema)
    return replace(stack, dataset=replace(stack.dataset, queries=frame))


def test_no_label_is_used(make_problem):
    _, stack = make_problem()
    fit, test = stack.split(seed=0)
    blind = DebiasedFusion().fit(without_targets(fit)).fuse(without_targets(test))
    np.testing.assert_array_equal(blind.scores, DebiasedFusion().fit(fit).fuse(test).scores)


def test_queries_of_its_own_bank_can_be_fused_but_not_evaluated(make_problem):
    _, stack = make_problem()
    fit, test = stack.split(seed=0)
    fitted = DebiasedFusion().fit(fit)
    assert fitted.fuse(fit).fitted_query_ids == set(fit.query_ids)
    with pytest.raises(LeakageError, match="expected queries it was not fitted on"):
        evaluate(fitted, fit)
    foreign = DebiasedFusion().fit(fit, bank=test)
    assert foreign.record_.query_ids == frozenset()  # the bank is all it has
    evaluate(foreign, fit)
    with pytest.raises(LeakageError, match="the bank holds"):
        evaluate(foreign, test)


def with_favourites(stack, strength):
    """Return the stack with candidates that each provider scores high whatever is asked."""
    shape = (stack.n_providers, 1, stack.n_gallery)
    bias = strength * np.random.default_rng(5).normal(size=shape)
    pairs = zip(stack.names, stack.matrices, bias, strict=True)
    matrices = {name: (m + b).astype(np.float32) for name, m, b in pairs}
    return SimilarityStack.from_matrices(matrices, stack.dataset)


def test_what_a_model_likes_whatever_is_asked_is_removed(make_problem):
    _, fair = make_problem(n_queries=240, noise=(1.5, 1.5, 1.5))
    biased = with_favourites(fair, 3.0)
    quality = {}
    for name, stack in (("fair", fair), ("biased", biased)):
        fit, test = stack.split(test_size=0.5, seed=0)
        for fuser in (DebiasedFusion(), MeanFusion()):
            quality[name, fuser.name] = evaluate(fuser.fit(fit), test).values["recall@1"]
    assert quality["biased", "MeanFusion"] < quality["fair", "MeanFusion"] - 0.2
    assert quality["biased", "DebiasedFusion"] > quality["fair", "DebiasedFusion"] - 0.1


def test_a_learned_fusion_is_measured_against_it_as_a_static_rule(make_problem):
    _, stack = make_problem(n_queries=120, noise=(1.5, 1.5, 1.5))
    stack = with_favourites(stack, 3.0)
    fusers = {
        "debiased": DebiasedFusion(),
        "rrf": VotingFusion("rrf"),
        "light": LightFusion(network="linear"),
    }
    found = compare(stack, fusers, design=Folds(3), n_resamples=50)
    row = found.row("debiased")
    assert row.kind == "static"
    assert found.row("light").vs_best_static["recall@1"].reference == "debiased"
    by_hand = [
        evaluate(DebiasedFusion().fit(train), test).per_query
        for train, test in Folds(3).parts(stack)
    ]
    expected = np.concatenate(by_hand).mean(axis=0)
    got = [row.metrics[metric].value for metric in found.metrics]
    np.testing.assert_allclose(got, expected)


def favourites_of_others(evidence, k, n_best):
    """Return what provider k scores the best candidates by the others' sum: (mean over queries)."""
    means = []
    for rows in evidence:
        own = rows[k]
        sums = [
            sum(row[j] for i, row in enumerate(rows) if i != k and np.isfinite(row[j]))
            if np.isfinite(own[j])
            else -np.inf
            for j in range(len(own))
        ]
        best = sorted(range(len(own)), key=lambda j: sums[j])[-n_best:]
        means.append(np.mean([own[j] for j in best]))
    return means


def test_agreement_is_what_loops_find():
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(6, 3, 60)).astype(np.float32)
    evidence[:, :, 7] = -np.inf
    found = agreement(evidence)
    for k in range(3):
        np.testing.assert_allclose(found[:, k], favourites_of_others(evidence, k, 3), atol=1e-5)
    evidence[2, 1, 30:] = np.nan  # a verifier asked about a few candidates
    found = agreement(evidence)
    assert np.isnan(found).sum() == 1
    assert np.isnan(found[2, 1])


def with_noise(stack, n=1):
    shape = (stack.n_queries, stack.n_gallery)
    rng = np.random.default_rng(0)
    noise = {f"noise-{i}": rng.normal(size=shape).astype(np.float32) for i in range(n)}
    rows = dict(zip(stack.names, stack.matrices, strict=True))
    near = {
        name: np.array([rng.permutation(np.delete(np.arange(shape[1]), j))[:8] for j in range(40)])
        for name in noise
    }
    return SimilarityStack.from_matrices(rows | noise, stack.dataset, neighbours=near)


@pytest.mark.parametrize("n", [1, 4])
def test_noise_among_the_models_is_left_out_with_a_warning(make_problem, caplog, tmp_path, n):
    _, stack = make_problem(n_queries=120, n_gallery=40, noise=(0.5, 0.6, 0.7))
    noisy = with_noise(stack, n)
    fit, test = stack.split(seed=0)
    noisy_test = noisy.take_queries(test.query_ids)
    fitted = DebiasedFusion().fit(noisy.take_queries(fit.query_ids))
    assert fitted.outsiders_ == tuple(f"noise-{i}" for i in range(n))
    assert "left out noise-0" in caplog.text
    assert "least_agreement=0" in caplog.text
    # neither their scores nor their neighbours count
    expected = DebiasedFusion().fit(fit).fuse(test).scores
    np.testing.assert_allclose(fitted.fuse(noisy_test).scores, expected, atol=1e-5)
    save_fuser(fitted, tmp_path / "model")
    again = load_fuser(tmp_path / "model")
    np.testing.assert_array_equal(again.fuse(noisy_test).scores, fitted.fuse(noisy_test).scores)
    everyone = DebiasedFusion(least_agreement=0).fit(noisy.take_queries(fit.query_ids))
    assert everyone.outsiders_ == ()
    with_all = everyone.fuse(noisy_test).scores
    assert not np.allclose(with_all, expected, atol=0.01)


def test_nobody_is_an_outsider_without_two_others_that_agree(make_problem, caplog):
    _, stack = make_problem(n_queries=120, noise=(0.5, 0.6, 0.7))
    one = with_noise(stack.select(["model-0"]))
    assert DebiasedFusion().fit(one).outsiders_ == ()  # of two that differ, either may be right
    assert DebiasedFusion().fit(stack).outsiders_ == ()
    few = with_noise(stack).take_queries(stack.query_ids[:1])
    assert DebiasedFusion().fit(few).outsiders_ == ()  # a single query shows nothing
    assert "left out" not in caplog.text


def test_what_few_labels_start_from_passes_outsiders_over(make_problem):
    _, stack = make_problem(n_queries=120, noise=(0.5, 0.6, 0.7))
    noisy = with_noise(stack, 2)
    layout = Layout(("ranks", "topics"), noisy.names, ("noise-0", "noise-1"))
    weights = shared_weights(layout, "gallery").reshape(2, 5)
    assert (weights[:, :3] > 0).all()
    assert not weights[:, 3:].any()
    alone = shared_weights(Layout(("ranks", "topics"), stack.names), "gallery").reshape(2, 3)
    np.testing.assert_array_equal(weights[:, :3], alone)
    light = LightFusion(network="linear", prior=1e9).fit(noisy)  # the prior is all there is
    noise = light.weights_[0].reshape(-1, 5)[:, 3:]
    assert np.abs(noise).max() < 1e-4 * np.abs(light.weights_[0]).max()


def test_when_only_outsiders_are_there_they_are_fused(make_problem):
    _, stack = make_problem(n_queries=120, noise=(0.5, 0.6, 0.7))
    noisy = with_noise(stack, 2)
    fitted = DebiasedFusion().fit(noisy)
    fused = fitted.fuse(noisy.select(["noise-0", "noise-1"])).scores
    assert np.ptp(fused[0][np.isfinite(fused[0])]) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 1.0}, "DebiasedFusion: unknown option 'rank'; did you mean 'ranks'"),
        ({"topics": float("nan")}, "DebiasedFusion: expected topics finite, got nan"),
        (dict.fromkeys(WEIGHTS, 0.0), "DebiasedFusion: expected a weight other than 0, got none"),
    ],
)
def test_weights_are_checked(options, message):
    with pytest.raises(OptionError, match=message):
        DebiasedFusion(**options)
