"""Every verdict, from differences made for it."""

import pytest

from dafm_core.comparison.rows import Difference, Interval, Row
from dafm_core.comparison.verdict import verdict


def difference(reference, value, half_width, p=0.001, p_holm=None):
    return Difference(
        reference=reference,
        value=value,
        low=value - half_width,
        high=value + half_width,
        p_value=p,
        p_holm=p if p_holm is None else p_holm,
        wins=0,
        ties=0,
        losses=0,
        detectable=0.0,
    )


def table(*, rule, learned, half_width=0.01, p=0.001, p_holm=None):
    """Return rows of a comparison: a single model at 0.3, with a rule and a learned fuser."""

    def row(name, kind, value, **against):
        return Row(name, kind, {"mean": Interval(value, value, value)}, **against)

    over = lambda name, base, value: {"mean": difference(name, value - base, half_width, p, p_holm)}  # noqa: E731
    rows = [row("model", "single", 0.3)]
    if rule is not None:
        rows.append(row("rrf", "static", rule, vs_best_single=over("model", 0.3, rule)))
    if learned is not None:
        against = {"vs_best_single": over("model", 0.3, learned)}
        if rule is not None:
            against["vs_best_static"] = over("rrf", rule, learned)
        rows.append(row("light", "learned", learned, **against))
    return tuple(rows)


@pytest.mark.parametrize(
    ("rule", "learned", "action", "name"),
    [
        (0.35, 0.40, "deploy-learned", "light"),  # clearly ahead of both
        (0.35, 0.355, "deploy-rule", "rrf"),  # ahead of the rule, but not clearly
        (0.35, 0.30, "deploy-rule", "rrf"),
        (0.305, 0.312, "deploy-learned", "light"),  # the rule itself could not be deployed
        (0.305, 0.305, "stay", "model"),
        (0.25, 0.25, "stay", "model"),
        (0.20, 0.305, "stay", "model"),  # beats a bad rule only
        (None, 0.40, "deploy-learned", "light"),
        (None, 0.305, "stay", "model"),
        (0.35, None, "deploy-rule", "rrf"),
        (0.30, None, "stay", "model"),
        (None, None, "stay", "model"),
    ],
)
def test_verdict(rule, learned, action, name):
    found = verdict(table(rule=rule, learned=learned))
    assert (found.action, found.name) == (action, name)
    assert "\n" not in found.reason
    assert found.reason.endswith(".")
    assert name in found.reason


def test_an_interval_above_zero_is_not_enough_where_groups_are_few():
    assert verdict(table(rule=0.35, learned=0.40, p=0.06)).action == "stay"


def test_the_gate_goes_by_the_p_value_that_is_adjusted_for_all_rows():
    assert verdict(table(rule=0.35, learned=0.40, p=0.01, p_holm=0.06)).action == "stay"
    assert verdict(table(rule=0.35, learned=0.40, p=0.01, p_holm=0.04)).action == "deploy-learned"


def test_the_reason_gives_the_numbers():
    reason = verdict(table(rule=0.35, learned=0.40)).reason
    assert "+10.00 [+9.00, +11.00], p 0.001 against model" in reason
    assert "+5.00 [+4.00, +6.00], p 0.001 against rrf" in reason
    reason = verdict(table(rule=0.35, learned=0.355)).reason
    assert "light is not clearly better" in reason


def test_an_interval_above_zero_that_is_not_enough_is_explained():
    """Excludes zero, but p adjusted is 0.088: the reason says which part of the rule it fails."""
    found = verdict(table(rule=0.35, learned=0.355, half_width=0.001, p=0.03, p_holm=0.088))
    assert found.action == "stay"
    assert "p 0.088" in found.reason
    assert "above zero, but clearly takes an adjusted p below 0.05 too" in found.reason


def learned_rows(behind, *, half_width, p=0.001):
    """Return a single model at 0.3, an elaborate fuser at 0.4 and a simple one behind it."""

    def row(name, value, complexity, **against):
        metrics = {"mean": Interval(value, value, value)}
        ahead = {"mean": difference("model", value - 0.3, 0.01)}
        return Row(name, "learned", metrics, ahead, complexity=complexity, **against)

    simple = {"mean": difference("big", -behind, half_width, p)}
    model = Row("model", "single", {"mean": Interval(0.3, 0.3, 0.3)})
    return [model, row("big", 0.4, 2), row("small", 0.4 - behind, 1, vs_best_learned=simple)]


def test_of_learned_fusers_that_are_tied_the_simpler_is_deployed():
    found = verdict(learned_rows(0.001, half_width=0.004, p=0.6))
    assert (found.action, found.name) == ("deploy-learned", "small")
    assert "big is not clearly better than this simpler one (-0.10 [-0.50, +0.30]" in found.reason


def test_a_learned_fuser_that_is_clearly_behind_is_not():
    assert verdict(learned_rows(0.01, half_width=0.004)).name == "big"
    assert verdict(learned_rows(0.01, half_width=0.004, p=0.2)).name == "small"  # not clearly
