"""Each rule against its definition, by hand."""

import math

import pytest

from dafm_core.errors import OptionError
from dafm_core.fusion.light.temperature import RULES, DynamicTemperature


def after(rule, losses, start=0.02, **options):
    temperature = DynamicTemperature(rule, start, **options)
    for loss in losses:
        temperature.update(loss)
    return temperature().item()


def test_paper_is_equation_seven():
    losses = [7.0, 6.0, 5.5]
    expected = 0.02 * math.prod(1 - loss / 100 for loss in losses)
    assert after("paper", losses, scale=100.0) == pytest.approx(expected, rel=1e-5)


def test_paper_only_ever_falls_and_stops_at_its_floor():
    taus = [after("paper", [5.0] * n) for n in range(0, 100, 10)]
    assert taus == sorted(taus, reverse=True)
    assert after("paper", [5.0] * 500) == pytest.approx(0.002)
    assert after("paper", [500.0]) == pytest.approx(0.002)  # as printed it would be negative


def test_adaptive_falls_with_the_loss_and_rises_on_a_plateau():
    assert after("adaptive", [5.0, 4.0, 3.0]) < 0.02
    assert after("adaptive", [5.0] * 10) > 0.02
    assert after("adaptive", [5.0] * 1000) == pytest.approx(0.2)


def test_fixed_and_learned_do_not_follow_the_loss():
    assert after("fixed", [5.0, 1.0]) == pytest.approx(0.02)
    learned = DynamicTemperature("learned", 0.02)
    learned.update(5.0)
    assert learned().item() == pytest.approx(0.02)
    learned().backward()
    assert learned.logarithm.grad.item() == pytest.approx(0.02)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_stays_within_a_tenth_and_ten_times_its_start(rule):
    for losses in ([1e9] * 50, [0.0] * 50, [1e-9, 1e9] * 50):
        assert 0.1 - 1e-5 <= after(rule, losses, start=1.0) <= 10 + 1e-4


def test_what_is_not_a_rule_or_not_positive_is_refused():
    with pytest.raises(OptionError, match=r"no rule 'adaptve'; did you mean 'adaptive'\?"):
        DynamicTemperature("adaptve", 1.0)
    with pytest.raises(OptionError, match="start and scale > 0"):
        DynamicTemperature("fixed", 0.0)
