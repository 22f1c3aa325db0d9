"""Metrics by name."""

import numpy as np
import pytest

from dafm_core.datasets import circo, cirr, fashioniq
from dafm_core.errors import OptionError
from dafm_core.ground.ragged import Ragged
from dafm_core.metrics.ranking import Places, rank_targets
from dafm_core.metrics.spec import EXAMPLES, definitions, metric_label, parse_metric, parse_metrics


@pytest.fixture
def places():
    """Two queries whose targets, subsets and first-named targets stand in different places."""
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4]])
    targets, subsets = Ragged.from_rows([[0], [2]]), Ragged.from_rows([[0, 1], [2, 3]])
    return Places(
        gallery=rank_targets(scores, targets),
        subset=rank_targets(scores, targets, within=subsets),
        first=rank_targets(scores, Ragged.from_rows([[1], [3]])),
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("recall@1", [1, 0]),
        ("recall@2", [1, 1]),
        ("hit@1", [1, 0]),
        ("first@1", [0, 1]),
        ("first@2", [1, 1]),
        ("rsubset@1", [1, 0]),
        ("rsubset@2", [1, 1]),
        ("map@5", [1, 0.5]),
        ("mrr", [1, 0.5]),
        ("rmean", [1, 0.5]),
        ("rmean-fashioniq", [1, 1]),
    ],
)
def test_values(places, name, values):
    assert parse_metric(name)(places).tolist() == values


def test_metrics_say_what_they_look_at_besides_the_gallery():
    metrics = parse_metrics(["recall@5", "rsubset@1", "rmean", "mrr", "first@5"])
    assert {metric.name: metric.needs for metric in metrics if metric.needs} == {
        "rsubset@1": ("subset",),
        "rmean": ("subset",),
        "first@5": ("first",),
    }


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("recal@10", "'recall@10'"),
        ("recall", "recall@"),
        ("recall@0", "recall@"),
        ("recall@-1", ""),
        ("map@x", "map@"),
    ],
)
def test_unknown_names_offer_the_closest(name, hint):
    with pytest.raises(OptionError, match=f"unknown metric.*{hint}"):
        parse_metric(name)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_tables_print_names_the_same_metric(name):
    same = "rmean" if name == "rmean-fashioniq" else name  # both are printed as Rmean
    assert parse_metric(metric_label(name)).name == same


@pytest.mark.parametrize("dataset", [cirr, circo, fashioniq], ids=lambda d: d.__name__)
def test_what_benchmarks_report_is_among_the_names_suggested(dataset):
    assert set(dataset.METRICS) <= set(EXAMPLES)


def test_one_metric_has_one_name_however_it_is_written():
    assert {parse_metric(name).name for name in ("recall@5", "R@5", "r@05")} == {"recall@5"}


def test_names_are_kept_in_order_once():
    assert [m.name for m in parse_metrics(["mrr", "Recall@5", "mrr"])] == ["mrr", "recall@5"]


def test_no_metric_is_refused():
    with pytest.raises(OptionError, match="at least one"):
        parse_metrics([])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_legend_defines_every_metric_by_the_name_that_tables_print(name):
    label = metric_label(name).partition("@")[0]
    (definition,) = definitions([name])
    assert definition.startswith((f"{label}@K: ", f"{label}: "))
