"""The table: held-out by construction, paired, against the best; and what is refused."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.comparison.compare import compare
from dafm_core.comparison.verdict import verdict
from dafm_core.errors import DatasetError, FuserError, LeakageError, OptionError
from dafm_core.fusion.base import Fuser
from dafm_core.fusion.static import BestSingle, MeanFusion, VotingFusion, WeightedFusion


class Memorizer(Fuser):
    """Knows the targets of its training queries by heart, and guesses elsewhere."""

    kind = "learned"
    learns = True

    def _fit(self, stack, dataset):
        self.known_ = {
            stack.tile(row, row + 1).tobytes(): targets
            for row, targets in enumerate(dataset.targets)
        }

    def scorer(self, stack):
        def score(tile):
            fused = np.where(np.isneginf(tile[:, 0]), -np.inf, 0).astype(np.float32)
            for row, scores in zip(fused, tile, strict=True):
                row[self.known_.get(scores[None].tobytes(), [])] = 1.0
            return fused

        return score


class NeighbourFilter(Fuser):
    """Smooths along the gallery file: the order of candidates matters to it."""

    kind = "learned"

    def scorer(self, stack):
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
    dataset, stack = problem
    return compare(stack, dataset, FUSERS, folds=4, n_resamples=500)


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
    means = comparison.frame.drop("query_id", "group").group_by("row").mean()
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
    assert verdict(comparison, metric="recall@1").metric == "recall@1"


def test_nothing_learned_by_heart_survives_the_folds(problem):
    dataset, stack = problem
    row = compare(stack, dataset, {"parrot": Memorizer()}, folds=4, n_resamples=50).row("parrot")
    assert row.metrics["recall@1"].value == pytest.approx(1 / (dataset.n_gallery - 1), rel=0.01)


def test_a_training_part_is_used_and_kept_apart(problem):
    dataset, stack = problem
    train, test = dataset.split(test_size=0.4, seed=2)
    result = compare(stack, test, FUSERS, train=train, n_resamples=50)
    assert result.n_queries == test.n_queries
    assert result.audits.leakage.groups == 0.0
    with pytest.raises(LeakageError):
        compare(stack, dataset, FUSERS, train=train, n_resamples=50)


def test_fusers_are_used_as_given_without_a_training_part(problem):
    dataset, stack = problem
    train, test = dataset.split(seed=0)
    fitted = WeightedFusion().fit(stack, train)
    fusers = {"weights": fitted, "mean": MeanFusion(), "rrf": VotingFusion("rrf")}
    assert "as given" in compare(stack, test, fusers, n_resamples=50).design
    with pytest.raises(LeakageError):
        compare(stack, dataset, fusers, n_resamples=50)
    with pytest.raises(FuserError, match="not fitted"):
        compare(stack, test, {"weights": WeightedFusion()}, n_resamples=50)


def test_fusers_are_also_taken_by_name(problem):
    dataset, stack = problem
    named = compare(stack, dataset, ["mean", "voting-rrf"], folds=3, n_resamples=50)
    assert [row.name for row in named.rows][-2:] == ["mean", "voting-rrf"]
    with pytest.raises(OptionError, match="did you mean 'mean'"):
        compare(stack, dataset, ["meam"], folds=3)


def test_the_order_audit_names_who_looks_at_the_file_order(problem):
    dataset, stack = problem
    column = dataset.gallery_index
    neighbours = [dataset.gallery_ids[(column[t] - 1) % 40] for (t,) in dataset.queries["targets"]]
    boost = np.array(stack.matrices[0])
    boost[np.arange(200), [column[i] for i in neighbours]] += 6.0
    matrices = dict(zip(stack.names, (boost, *stack.matrices[1:]), strict=True))
    told = type(stack).from_matrices(
        matrices,
        protocol=stack.protocol,
        query_ids=stack.query_ids,
        gallery_ids=stack.gallery_ids,
        excluded=stack.excluded,
    )
    with np.errstate(invalid="ignore"):
        result = compare(told, dataset, {"filter": NeighbourFilter()}, folds=2, n_resamples=50)
    assert result.audits.order.changes["filter"]["recall@1"] > 0.05
    assert "filter depends on the order" in result.audits.order.words
    honest = compare(stack, dataset, {"parrot": Memorizer()}, folds=2, n_resamples=50)
    assert "parrot does not depend on the order" in honest.audits.order.words


def test_progress_counts_the_folds_of_every_row_and_reaches_the_end(problem):
    dataset, stack = problem
    seen = {}
    compare(
        stack,
        dataset,
        FUSERS | {"parrot": Memorizer()},
        folds=2,
        n_resamples=50,
        progress=lambda what, done, total: seen.setdefault(what, []).append((done, total)),
    )
    assert seen.keys() >= {"parrot", "tuned rules", "intervals and tests"}
    assert list(dict.fromkeys(seen["parrot"])) == [(0, 2), (1, 2), (2, 2)]  # of two folds
    assert all(calls[-1][0] == calls[-1][1] for calls in seen.values())


def test_same_seed_same_table(problem, comparison):
    dataset, stack = problem
    again = compare(stack, dataset, FUSERS, folds=4, n_resamples=500)
    assert again.to_json() == comparison.to_json()


def test_json_holds_percent_and_only_json(comparison):
    record = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert {"protocol", "n_queries", "rows", "verdict", "audits"} <= record.keys()
    for row, written in zip(comparison.rows, record["rows"], strict=True):
        assert {"name", "kind", "metrics", "vs_best_single", "vs_best_static"} == written.keys()
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
    with pytest.raises(OptionError, match="got both"):
        compare(stack, dataset, FUSERS, folds=3, train=dataset)
    with pytest.raises(OptionError, match="'model-0' is taken"):
        compare(stack, dataset, {"model-0": MeanFusion()}, folds=3)
    with pytest.raises(OptionError, match="unknown metric"):
        compare(stack, dataset, FUSERS, folds=3, metrics=["recal@1"])
    with pytest.raises(DatasetError, match="number of groups"):
        compare(stack, replace(dataset, queries=dataset.queries.head(4)), FUSERS, folds=3)


def test_one_provider_is_a_comparison_too(problem):
    dataset, stack = problem
    result = compare(stack.select(["model-0"]), dataset, FUSERS, folds=2, n_resamples=50)
    assert result.verdict.action == "stay"
    single = result.evaluations["model-0"].frame
    assert all(evaluation.frame.equals(single) for evaluation in result.evaluations.values())


def test_singles_alone_are_a_comparison_too(problem):
    dataset, stack = problem
    result = compare(stack, dataset, {}, n_resamples=50)
    assert result.verdict.action == "stay"
    assert result.verdict.name in stack.names
