"""The table: held-out by construction, paired, against the best; and what is refused."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.comparison.compare import compare
from dafm_core.comparison.verdict import verdict
from dafm_core.errors import DatasetError, FuserError, LeakageError, OptionError
from dafm_core.evaluation.design import Folds, Train
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.static import BestSingle, MeanFusion, VotingFusion, WeightedFusion
from dafm_core.metrics import truth as truth_module


class Memorizer(Fuser):
    """Knows the targets of its training queries by heart, and guesses elsewhere."""

    kind = "learned"
    learns = True

    def _fit(self, stack, *, bank, progress):
        self.known_ = {
            stack.tile(row, row + 1).tobytes(): targets
            for row, targets in enumerate(stack.truth.targets)
        }

    def _scorer(self, gallery):
        def score(tile):
            fused = np.where(np.isneginf(tile[:, 0]), -np.inf, 0).astype(np.float32)
            for row, scores in zip(fused, tile, strict=True):
                row[self.known_.get(scores[None].tobytes(), [])] = 1.0
            return fused

        return score


class NeighbourFilter(Fuser):
    """Smooths along the gallery file: the order of candidates matters to it."""

    kind = "learned"

    def _scorer(self, gallery):
        return lambda tile: tile.mean(1) + 0.5 * np.roll(tile.mean(1), 1, axis=1)


FUSERS = {
    "best-single": BestSingle(),
    "mean": MeanFusion(),
    "rrf": VotingFusion("rrf"),
    "weights": WeightedFusion(),
}


@pytest.fixture
def problem(make_problem):
    return make_problem(n_queries=200, noise=(1.6, 1.7, 1.8))


@pytest.fixture
def comparison(problem):
    _, stack = problem
    return compare(stack, FUSERS, design=Folds(4), n_resamples=500)


def test_rows_come_in_order_of_kind(comparison):
    assert [(row.name, row.kind) for row in comparison.rows] == [
        ("model-0", "single"),
        ("model-1", "single"),
        ("model-2", "single"),
        ("best-single", "single"),
        ("mean", "static"),
        ("rrf", "static"),
        ("weights", "static"),
    ]


def test_values_are_means_of_the_per_query_frame(comparison):
    expected = ["row", "query_id", "group", *comparison.metrics, "query_types"]
    assert comparison.frame.columns == expected
    means = comparison.frame.drop("query_id", "group", "query_types").group_by("row").mean()
    for row in comparison.rows:
        (record,) = means.filter(pl.col("row") == row.name).to_dicts()
        for metric in comparison.metrics:
            cell = row.metrics[metric]
            assert cell.value == pytest.approx(record[metric])
            assert cell.low <= cell.value <= cell.high
        assert row.metrics["mean"].value == pytest.approx(
            np.mean([row.metrics[m].value for m in comparison.metrics])
        )


def test_differences_are_paired_with_the_best_of_the_table(comparison):
    singles = [row for row in comparison.rows if row.kind == "single"]
    for metric in (*comparison.metrics, "mean"):
        best = max(singles, key=lambda row: row.metrics[metric].value)
        row = comparison.row("weights")
        cell = row.vs_best_single[metric]
        assert cell.value == pytest.approx(row.metrics[metric].value - best.metrics[metric].value)
        assert cell.wins + cell.ties + cell.losses == comparison.n_queries
        assert cell.low <= cell.value <= cell.high
        assert cell.p_holm >= cell.p_value > 0
    best_static = [
        r for r in comparison.rows if r.kind == "static" and "mean" not in r.vs_best_static
    ]
    assert len(best_static) == 1  # nothing is compared with itself


def test_fusing_helps_here_and_the_gate_says_so(comparison):
    assert comparison.verdict.action == "deploy-rule"
    assert comparison.verdict.reason.startswith("Deploy the rule")
    assert verdict(comparison.rows, metric="recall@1").metric == "recall@1"


def test_nothing_learned_by_heart_survives_the_folds(problem):
    dataset, stack = problem
    design = Folds(4)
    row = compare(stack, {"parrot": Memorizer()}, design=design, n_resamples=50).row("parrot")
    assert row.metrics["recall@1"].value == pytest.approx(1 / (dataset.n_gallery - 1), rel=0.01)


def test_a_training_part_is_used_and_kept_apart(problem):
    _, stack = problem
    train, test = stack.split(test_size=0.4, seed=2)
    result = compare(test, FUSERS, design=Train(train), n_resamples=50)
    assert result.n_queries == test.n_queries
    assert result.audits.leakage.groups == 0.0
    with pytest.raises(LeakageError):
        compare(stack, FUSERS, design=Train(train), n_resamples=50)


def test_fusers_are_used_as_given_without_a_training_part(problem):
    _, stack = problem
    train, test = stack.split(seed=0)
    fitted = WeightedFusion().fit(train)
    fusers = {"weights": fitted, "mean": MeanFusion(), "rrf": VotingFusion("rrf")}
    result = compare(test, fusers, n_resamples=50)
    assert "as given" in result.design
    assert result.audits.leakage is None  # nothing was fitted here
    with pytest.raises(LeakageError):
        compare(stack, fusers, n_resamples=50)
    with pytest.raises(FuserError, match="not fitted"):
        compare(test, {"weights": WeightedFusion()}, n_resamples=50)


def test_fusers_are_also_taken_by_name(problem):
    _, stack = problem
    named = compare(stack, ["mean", "voting-rrf"], design=Folds(3), n_resamples=50)
    assert [row.name for row in named.rows][-2:] == ["mean", "voting-rrf"]
    with pytest.raises(OptionError, match="did you mean 'mean'"):
        compare(stack, ["meam"], design=Folds(3))


def test_the_order_audit_names_who_looks_at_the_file_order(problem):
    dataset, stack = problem
    column = dataset.gallery_ids.place
    neighbours = [dataset.gallery_ids[(column[t] - 1) % 40] for (t,) in dataset.queries["targets"]]
    boost = np.array(stack.matrices[0])
    boost[np.arange(200), [column[i] for i in neighbours]] += 6.0
    matrices = dict(zip(stack.names, (boost, *stack.matrices[1:]), strict=True))
    told = type(stack).from_matrices(matrices, dataset)
    options = {"design": Folds(2), "n_resamples": 50}
    with np.errstate(invalid="ignore"):
        result = compare(told, {"filter": NeighbourFilter()}, **options)
    assert result.audits.order.changes["filter"]["recall@1"] > 0.05
    assert "filter depends on the order" in result.audits.order.words
    honest = compare(stack, {"parrot": Memorizer()}, **options)
    assert "parrot does not depend on the order" in honest.audits.order.words


def test_progress_counts_the_folds_of_every_row_and_reaches_the_end(problem):
    _, stack = problem
    seen = {}
    compare(
        stack,
        FUSERS | {"parrot": Memorizer()},
        design=Folds(2),
        n_resamples=50,
        progress=lambda what, done, total: seen.setdefault(what, []).append((done, total)),
    )
    for fitted_by_fold in ("parrot", "weights"):
        assert seen.pop(fitted_by_fold) == [(0, 2), (1, 2), (2, 2)]
    assert seen == {
        "tuned rules": [(0, 3), (3, 3)],  # of the other rows, measured in one pass
        "intervals and tests": [(0, 1), (1, 1)],
    }


def test_same_seed_same_table(problem, comparison):
    _, stack = problem
    again = compare(stack, FUSERS, design=Folds(4), n_resamples=500)
    assert again.to_json() == comparison.to_json()


def test_json_holds_percent_and_only_json(comparison):
    record = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert {"protocol", "n_queries", "rows", "verdict", "audits"} <= record.keys()
    for row, written in zip(comparison.rows, record["rows"], strict=True):
        against = {"vs_best_single", "vs_best_static", "vs_best_learned", "vs_best"}
        assert {"name", "kind", "metrics", "undecided", "heads"} | against == written.keys()
        cell = written["metrics"]["recall@1"]
        assert cell.keys() == {"value", "low", "high"}
        assert cell["value"] == pytest.approx(100 * row.metrics["recall@1"].value)
    assert (
        record["oracle"]["metrics"]["recall@1"]["value"]
        >= record["rows"][0]["metrics"]["recall@1"]["value"]
    )


def test_it_prints_as_a_table(comparison):
    lines = str(comparison).splitlines()
    assert lines[0].startswith("toy-val: 200 queries, 50 groups")
    assert [line.split()[0] for line in lines[2:9]] == [row.name for row in comparison.rows]
    assert lines[-1] == comparison.verdict.reason


def test_what_makes_no_sense_is_refused(problem):
    dataset, stack = problem
    with pytest.raises(OptionError, match="'model-0' is taken"):
        compare(stack, {"model-0": MeanFusion()}, design=Folds(3))
    with pytest.raises(OptionError, match="unknown metric"):
        compare(stack, FUSERS, design=Folds(3), metrics=["recal@1"])
    with pytest.raises(DatasetError, match="number of groups"):
        compare(stack.take_queries(dataset.query_ids[:4]), FUSERS, design=Folds(3))


def test_one_provider_is_a_comparison_too(problem):
    _, stack = problem
    result = compare(stack.select(["model-0"]), FUSERS, design=Folds(2), n_resamples=50)
    assert result.verdict.action == "stay"
    single = result.evaluations["model-0"].frame
    assert all(evaluation.frame.equals(single) for evaluation in result.evaluations.values())


def test_singles_alone_are_a_comparison_too(problem):
    _, stack = problem
    result = compare(stack, {}, n_resamples=50)
    assert result.verdict.action == "stay"
    assert result.verdict.name in stack.names


def test_every_single_is_ranked_once(problem, monkeypatch):
    """Rows, oracle, headroom and ties all read the same ranks."""
    _, stack = problem
    ranked = []
    rank_targets = truth_module.rank_targets

    def spy(scores, targets, *, within=None, **settings):
        ranked.append((np.array(scores), within is not None))
        return rank_targets(scores, targets, within=within, **settings)

    monkeypatch.setattr(truth_module, "rank_targets", spy)
    compare(stack, {"mean": MeanFusion(), "parrot": Memorizer()}, design=Folds(2), n_resamples=50)
    tile = stack.tile(0, stack.n_queries)
    for k in range(stack.n_providers):
        times = [within for scores, within in ranked if np.array_equal(scores, tile[:, k])]
        assert times == [False, True]  # once in the gallery, once in the subset
    ranked.clear()
    compare(replace(stack), {}, n_resamples=50)
    assert len(ranked) == 2 * stack.n_providers


def test_unlabelled_queries_are_handed_to_every_fit(problem):
    banks = []

    class Banked(Memorizer):
        def _fit(self, stack, *, bank, progress):
            banks.append(bank)
            super()._fit(stack, bank=bank, progress=progress)

    _, stack = problem
    bank, rest = stack.split(seed=0)
    compare(rest, {"banked": Banked()}, design=Folds(3), bank=bank, n_resamples=50)
    assert banks == [bank] * 3
    banks.clear()
    compare(stack, {"banked": Banked()}, design=Folds(3), bank=bank, n_resamples=50)
    for given, (_, held_out) in zip(banks, Folds(3).parts(stack), strict=True):
        assert not set(given.dataset.groups) & set(held_out.dataset.groups)
        kept = ~np.isin(bank.dataset.groups, held_out.dataset.groups)
        assert list(given.query_ids) == np.array(bank.query_ids)[kept].tolist()
