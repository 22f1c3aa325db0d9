"""What the first screen says: the price, clear losses, few groups, and what to run next."""

from dataclasses import replace

import pytest

from dafm_core.comparison.compare import compare
from dafm_core.comparison.decision import clear_losses
from dafm_core.comparison.inspection import Cost
from dafm_core.comparison.rows import Difference
from dafm_core.evaluation.design import Folds
from dafm_core.fusion.static import BestSingle, MeanFusion, VotingFusion


@pytest.fixture(scope="module")
def comparison(make_problem):
    _, stack = make_problem(n_queries=90, n_gallery=60, noise=(1.0, 1.1, 1.2))
    fusers = {"mean": MeanFusion(normalize="zscore"), "vote": VotingFusion()}
    labels = {"model-0": "MODEL & zero", "mean": "Mean of z"}
    return compare(stack, fusers, design=Folds(3), n_resamples=500, labels=labels)


def lost(value, p):
    return Difference("model-0", value, value - 0.01, value + 0.01, p, p, 1, 2, 3, 0.02)


def with_losses(comparison, name):
    """Return a comparison in which one row clearly loses one metric, and another unclearly."""
    rows = tuple(
        replace(row, vs_best_single={**row.vs_best_single, "recall@1": lost(-0.04, 0.01)})
        if row.name == name
        else replace(row, vs_best_single={**row.vs_best_single, "recall@1": lost(-0.04, 0.06)})
        for row in comparison.rows
    )
    return replace(comparison, rows=rows)


def test_a_clear_loss_of_the_row_to_deploy_is_said(comparison):
    chosen = comparison.verdict.name
    worse = with_losses(comparison, chosen)
    facts = worse.decision().facts
    assert "R@1: -4.00 [-5.00, -3.00], p 0.010 against MODEL & zero" in facts["Loses"]
    assert "Others lose" not in facts  # p 0.06 is not clear
    other = next(r.name for r in comparison.rows if r.name != chosen and r.kind == "static")
    facts = with_losses(comparison, other).decision().facts
    assert any("clearly loses R@1 -4.00 to MODEL & zero" in line for line in facts["Others lose"])
    assert clear_losses(worse.row(chosen))[0][0] == "recall@1"


def test_labels_stand_wherever_names_do(comparison):
    decision = comparison.decision(stores=["my scores"])
    said = " ".join([decision.headline, *sum(decision.facts.values(), ())])
    assert "Mean of z" in said or "MODEL & zero" in said
    assert "model-0" not in said
    assert "MODEL & zero" in str(comparison)
    assert "MODEL &amp; zero" in comparison._repr_html_()
    assert all("'my scores'" in command for command in decision.commands.values())


def test_what_it_costs_is_said_where_it_is_known(comparison):
    costs = {f"model-{k}": Cost(ms_per_query=10.0 * (k + 1)) for k in range(3)}
    (words,) = comparison.decision(costs=costs).facts["Costs"]
    assert "3 of 3 models for every query: 60.0 ms" in words
    (words,) = comparison.decision().facts["Costs"]
    assert "not recorded" in words


def test_a_rule_that_picks_a_model_is_no_model_more(make_problem):
    _, stack = make_problem()
    compared = compare(
        stack, {"best": BestSingle(), "mean": MeanFusion()}, design=Folds(3), n_resamples=100
    )
    (words,) = compared.decision().facts["Costs"]
    assert " of 3 models" in words


def test_few_groups_are_said_with_what_they_can_show(comparison):
    (words,) = comparison.decision().facts["Few groups"]
    assert f"in {comparison.n_groups} groups only" in words
    (words,) = replace(comparison, n_groups=5).decision().facts["Few groups"]
    assert "no adjusted p can be below 0.125 with 2 fused rows" in words
    assert "Few groups" not in replace(comparison, n_groups=400).decision().facts
