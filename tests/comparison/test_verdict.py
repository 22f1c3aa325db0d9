"""Every verdict, from differences made for it."""

from types import SimpleNamespace

import pytest

from dafm_core.comparison.rows import Difference, Interval, Row
from dafm_core.comparison.verdict import verdict


def difference(reference, value, half_width, p, p_holm):
    return Difference(
        reference=reference,
        value=value,
        low=value - half_width,
        high=value + half_width,
        p_value=p,
        p_holm=p_holm,
        wins=0,
        ties=0,
        losses=0,
        detectable=0.0,
    )


def table(*, rule, learned, half_width=0.01, p=0.001, p_holm=None):
    """Return a comparison whose single model is at 0.3, with a rule and a learned fuser."""
    p_values = (p, p if p_holm is None else p_holm)

    def row(name, kind, value, **against):
        return Row(name, kind, {"mean": Interval(value, value, value)}, **against)

    def over(name, base, value):
        return {"mean": difference(name, value - base, half_width, *p_values)}

    rows = [row("model", "single", 0.3)]
    if rule is not None:
        rows.append(row("rrf", "static", rule, vs_best_single=over("model", 0.3, rule)))
    if learned is not None:
        against = {"vs_best_single": over("model", 0.3, learned)}
        if rule is not None:
            against["vs_best_static"] = over("rrf", rule, learned)
        rows.append(row("light", "learned", learned, **against))
    return SimpleNamespace(rows=tuple(rows))


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


@pytest.mark.parametrize("learned", [0.40, None])
def test_the_gate_decides_by_the_adjusted_p_value(learned):
    asked_once = table(rule=0.35, learned=learned, p=0.04)
    assert verdict(asked_once).action != "stay"
    asked_three_times = table(rule=0.35, learned=learned, p=0.04, p_holm=0.12)
    assert verdict(asked_three_times).action == "stay"


def test_the_reason_gives_the_numbers():
    reason = verdict(table(rule=0.35, learned=0.40)).reason
    assert "+10.00 [+9.00, +11.00] against model and +5.00 [+4.00, +6.00] against rrf" in reason
    reason = verdict(table(rule=0.35, learned=0.355)).reason
    assert "light is not clearly better" in reason
