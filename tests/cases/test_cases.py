import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dafm_core.cases.cases import OUTCOMES
from dafm_core.cases.collecting import collect_cases
from dafm_core.comparison.compare import compare
from dafm_core.errors import LeakageError, OptionError
from dafm_core.evaluation.design import Folds
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.fusion.static import MeanFusion, VotingFusion, WeightedFusion
from dafm_core.ground.normalize import zscore_rows


@pytest.fixture
def problem(make_problem):
    return make_problem(n_queries=80, n_gallery=50, noise=(1.2, 1.5, 2.0))


@pytest.fixture
def fusers(problem):
    _, stack = problem
    mean, vote = MeanFusion(normalize="zscore"), VotingFusion()
    return {"mean": mean.fit(stack), "vote": vote.fit(stack)}


@pytest.fixture
def cases(problem, fusers):
    _, stack = problem
    return collect_cases(stack, fusers, depth=3, allow_fitted=True)


def test_ranks_agree_with_the_evaluation(problem, fusers, cases):
    _, stack = problem
    for name in cases.columns:
        scorer = fusers.get(name, name)
        recall = evaluate(scorer, stack, metrics=["recall@3"], allow_fitted=True)
        assert_array_equal(cases.ranks[name] <= 3, recall.per_query[:, 0] == 1)


def test_hits_agree_with_sorting_and_never_show_an_excluded_image(problem, cases):
    dataset, stack = problem
    tile = stack.tile(0, stack.n_queries)
    for k, name in enumerate(stack.names):
        assert_array_equal(cases.hits[name], np.argsort(-tile[:, k], axis=1)[:, :3])
    for hits in cases.hits.values():
        assert not any(set(row) & set(out) for row, out in zip(hits, dataset.excluded, strict=True))


def test_contributions_agree_with_a_naive_refusion(problem, fusers, cases):
    _, stack = problem
    tile = stack.tile(0, 1)
    scorer = fusers["mean"].scorer(stack)
    hits = cases.hits["mean"][0]
    parts = cases.breakdowns["mean"]
    for k in range(3):
        rest = tile.copy()
        rest[0, k] = np.where(np.isfinite(tile[0, k]), 7.0, -np.inf)  # any constant will do
        with_it, without = scorer(tile)[0], scorer(rest)[0]
        kept = np.isfinite(with_it)
        spread = with_it[kept].std()
        gain = (with_it[hits] - with_it[kept].mean()) - (without[hits] - without[kept].mean())
        assert_allclose(parts.contribution[0, :, k], gain / spread, atol=1e-5)
        weighted = zscore_rows(tile[0, k])[hits] / 3 / spread  # weight times standardised score
        assert_allclose(parts.contribution[0, :, k], weighted, atol=1e-5)
        order = np.argsort(-without).tolist()
        assert parts.rank_without[0, :, k].tolist() == [order.index(hit) + 1 for hit in hits]
        assert parts.score[0, :, k].tolist() == tile[0, k, hits].tolist()


class Tolerant(MeanFusion):
    """A mean that does without providers."""

    may_lack_providers = True


def test_a_fuser_that_can_do_without_a_provider_is_asked_to(problem):
    _, stack = problem
    fuser = Tolerant(normalize="zscore").fit(stack)
    cases = collect_cases(stack, {"mean": fuser}, depth=2)
    without = MeanFusion(normalize="zscore").fit(stack.select(stack.names[1:]))
    scores = without.fuse(stack.select(stack.names[1:])).scores
    ranks = [
        1 + np.flatnonzero(np.argsort(-scores[q]) == cases.hits["mean"][q, 0])[0] for q in range(80)
    ]
    assert_array_equal(cases.breakdowns["mean"].rank_without[:, 0, 0], ranks)


def test_every_query_has_one_outcome_and_find_partitions_them(cases):
    counts = Counter(cases.outcomes("mean").tolist())
    assert set(counts) <= set(OUTCOMES)
    assert {"solved", "rescued", "failed"} <= set(counts)
    for outcome, n in counts.items():
        assert cases.find("mean", outcome=outcome).queries.height == n


def test_regressions_are_what_the_best_single_found_and_the_fusion_lost(cases):
    broken = cases.regressions("vote")
    assert broken.height == cases.find("vote", outcome="broke").queries.height > 0
    assert (broken[f"rank {cases.best_single}"] <= 3).all()
    assert (broken["rank vote"] > 3).all()
    assert broken["change"].is_sorted()


def test_reasons_can_be_asked_for_later(problem, fusers, cases):
    _, stack = problem
    bare = collect_cases(stack, fusers, depth=3, allow_fitted=True, reasons=False)
    assert not bare.breakdowns
    chosen = bare.find("mean", limit=9).with_reasons(stack, {"mean": fusers["mean"]})
    expected = cases.take_queries(chosen.queries["query_id"].to_list()).breakdowns["mean"]
    for name, array in vars(chosen.breakdowns["mean"]).items():
        assert_allclose(array, getattr(expected, name), rtol=1e-5)


def test_json_is_strict_and_names_every_hit(cases):
    record = json.loads(json.dumps(cases.to_json(), allow_nan=False))
    assert len(record["cases"]) == len(cases) == 80
    first = record["cases"][0]["columns"]
    assert first["model-0"]["rank"] == cases.ranks["model-0"][0]
    assert [hit["image"] for hit in first["mean"]["hits"]] == [
        cases.gallery_ids[i] for i in cases.hits["mean"][0]
    ]
    assert set(first["mean"]["hits"][0]["why"]) == set(cases.providers)


def test_find_orders_by_change_and_reads_text(cases):
    found = cases.find("mean", limit=10)
    change = found.frame("mean")["change"].abs().to_list()
    assert change == sorted(change, reverse=True)
    assert len(change) == 10
    assert cases.find("mean", text="TEXT 7").queries["text"].str.starts_with("text 7").all()
    assert cases.find("mean", query_type="count").queries.height == 80  # "text 12" holds a number
    assert cases.find("mean", query_type="negation").queries.height == 0


def test_a_gallery_smaller_than_the_depth(make_problem):
    _, stack = make_problem(n_queries=8, n_gallery=7)
    mean = MeanFusion(normalize="zscore").fit(stack)
    cases = collect_cases(stack, {"mean": mean}, depth=20)
    assert (cases.hits["mean"] >= 0).sum(axis=1).tolist() == [6] * 8
    assert all(np.isfinite(array).all() for array in vars(cases.breakdowns["mean"]).values())


def test_what_is_refused(problem, fusers, cases):
    dataset, stack = problem
    with pytest.raises(OptionError, match="has the name of a provider"):
        collect_cases(stack, {"model-0": fusers["mean"]})
    with pytest.raises(OptionError, match="depth >= 1, got 0"):
        collect_cases(stack, {}, depth=0)
    with pytest.raises(OptionError, match="did you mean 'rescued'"):
        cases.find("mean", outcome="rescue")
    with pytest.raises(OptionError, match="no query 'q99'"):
        cases.take_queries(["q99"])
    with pytest.raises(OptionError, match="no fuser 'meen'; did you mean 'mean'"):
        cases.frame("meen")
    tuned = MeanFusion().fit(stack)
    tuned.record_ = replace(tuned.record_, query_ids=frozenset(dataset.query_ids))
    with pytest.raises(LeakageError):
        collect_cases(stack, {"mean": tuned})


def test_folds_look_at_every_query_with_a_fusion_that_has_not_seen_it(problem):
    dataset, stack = problem
    fuser = WeightedFusion(normalize="zscore")
    cases = collect_cases(stack, {"weighted": fuser}, depth=3, design=Folds(4))
    assert cases.queries.equals(dataset.queries)
    values = compare(stack, {"weighted": fuser}, design=Folds(4), metrics=["recall@3"])
    recall = values.evaluations["weighted"].frame["recall@3"].to_numpy()
    assert_array_equal(cases.ranks["weighted"] <= 3, recall == 1)
    assert not hasattr(fuser, "weights_")


def test_the_biggest_changes_say_that_they_are(make_problem):
    _, stack = make_problem(n_queries=60, noise=(1.6, 1.7, 1.8))
    cases = collect_cases(stack, {"mean": MeanFusion()}, reasons=False)
    (note,) = cases.find("mean", limit=5).notes
    assert "the 5 queries whose rank changes most under mean, of 60 (" in note
    assert cases.find("mean", limit=60).notes == ()
    with pytest.raises(OptionError, match="the closest are") as caught:
        cases.take_queries(["zzzzzz"])
    assert str(caught.value).count(",") == 4
