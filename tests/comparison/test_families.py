"""Averages over FashionIQ's categories: the paper's numbers, one verdict, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from dafm_core.comparison.compare import compare
from dafm_core.comparison.families import average_families
from dafm_core.comparison.rows import MEAN
from dafm_core.comparison.tables import families_table
from dafm_core.errors import OptionError
from dafm_core.evaluation.design import Folds
from dafm_core.evaluation.evaluate import Evaluation
from dafm_core.fusion.static import MeanFusion, VotingFusion
from dafm_core.ground.statistics import Resampler, StratifiedResampler

METRICS = ("recall@10", "recall@50")


@pytest.fixture(scope="module")
def comparison(make_problem):
    _, stack = make_problem(n_queries=60, n_gallery=60, noise=(1.0, 2.0, 2.5))
    fusers = {"mean": MeanFusion(normalize="zscore"), "vote": VotingFusion()}
    return compare(stack, fusers, design=Folds(3), metrics=METRICS, n_resamples=200)


def category(comparison, name, **percents):
    """Return a comparison as one category, some rows of which have these percents."""
    evaluations = dict(comparison.evaluations)
    for row, values in percents.items():
        table = np.tile(np.array(values) / 100, (comparison.n_queries, 1))
        frame = evaluations[row].frame.with_columns(**dict(zip(METRICS, table.T, strict=True)))
        evaluations[row] = Evaluation(row, comparison.protocol, METRICS, frame)
    protocol = f"fashioniq-{name}-val-original"
    return replace(comparison, protocol=protocol, evaluations=evaluations)


def test_fashioniq_averages_are_the_papers(comparison):
    """DAFM's row of Table 3."""
    categories = [
        category(comparison, "dress", mean=(52.80, 75.81)),
        category(comparison, "shirt", mean=(58.34, 76.55)),
        category(comparison, "toptee", mean=(60.94, 80.42)),
    ]
    averages = average_families(categories)
    row = next(row for row in averages.rows if row.name == "mean")
    shown = [f"{100 * row.metrics[m].value:.2f}" for m in (*METRICS, "rmean-fashioniq", MEAN)]
    assert shown == ["57.36", "77.59", "67.48", "67.48"]
    table = families_table(averages)
    assert table.names[1:4] == ("average R@10", "average R@50", "average Rmean")
    assert [name for name, _ in table.groups] == ["", "average", "dress", "shirt", "toptee"]
    assert {cells[0].text for cells in table.rows} == {row.name for row in comparison.rows}


def test_every_family_counts_the_same_and_there_is_one_verdict(comparison):
    small = category(comparison, "dress")
    large = category(comparison, "shirt")
    double = {name: replace_frame(e) for name, e in large.evaluations.items()}
    large = replace(
        large, evaluations=double, n_queries=2 * large.n_queries, groups=2 * large.groups
    )
    averages = average_families([small, large])
    for row, alone in zip(averages.rows, comparison.rows, strict=True):
        assert row.metrics["recall@10"].value == pytest.approx(alone.metrics["recall@10"].value)
    decision = averages.verdict
    assert decision.metric == MEAN
    assert averages.to_json()["verdict"]["reason"] == decision.reason


def replace_frame(evaluation):
    return replace(evaluation, frame=evaluation.frame.vstack(evaluation.frame))


def test_only_families_of_one_benchmark_are_averaged(comparison):
    dress = category(comparison, "dress")
    for unlike in (dress, comparison, replace(comparison, protocol="toy-two")):
        with pytest.raises(OptionError, match="Compare others one by one"):
            average_families([dress, unlike])


def test_families_without_the_metrics_to_average_are_refused(comparison):
    pair = [category(comparison, name) for name in ("dress", "shirt")]
    with pytest.raises(OptionError, match=r"got no recall@50\."):
        average_families([replace(c, metrics=("recall@10",)) for c in pair])


def test_strata_keep_their_queries_in_every_resample(rng):
    values = np.concatenate([np.zeros(200), np.ones(100)])[:, None]
    strata, groups = values[:, 0], np.arange(300)
    resampler = StratifiedResampler(groups, strata, n_resamples=200)
    assert np.ptp(resampler.means(values)) == pytest.approx(0)
    noise = rng.normal(size=(300, 1))
    low, high, error = resampler.summary(values + noise)
    plain = Resampler(groups, n_resamples=200).summary(noise)
    assert error == pytest.approx(plain[2], rel=0.3)
    assert low < 1 / 3 + noise.mean() < high
    few = StratifiedResampler(groups % 10, strata, n_resamples=200)
    assert few.n_free == 18
    assert few.summary(values)[2] == pytest.approx(0, abs=1e-12)
