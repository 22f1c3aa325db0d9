"""What the audits found, in words."""

import pytest

from dafm_core.comparison.audit import Audits, Headroom, Resolution
from dafm_core.comparison.gallery_order import Order
from dafm_core.comparison.kept_references import KeptReferences
from dafm_core.reporting.findings import findings


def audits(overlap, *, design_effect=1.5):
    width = 0.02 if design_effect is not None else None
    return Audits(
        headroom=Headroom({}, {}, "recall@1", {}, overlap),
        redundancy={},
        ties={},
        order=Order(0.0, 0.0),
        references=KeptReferences(0.0, {}),
        resolution=Resolution(9, 3, 0.01, design_effect, width),
    )


@pytest.mark.parametrize(
    ("overlap", "shares"),
    [
        ({"a & b": 0.5}, "both fail 50 % (a & b)."),
        ({"a & b": 0.5, "a & c": 0.91, "b & c": 0.2}, "both fail 20 % (b & c) to 91 % (a & c)."),
    ],
)
def test_shared_errors_name_the_least_and_the_most(overlap, shares):
    first, *_ = findings(audits(overlap))
    assert first == f"Of the queries that either of two models fails (R@1), {shares}"


def test_one_model_shares_no_errors():
    assert findings(audits({}))[0].startswith("Gallery order does not tell")


def test_a_design_effect_is_said_only_where_it_was_measured():
    measured = findings(audits({}))[-1]
    assert "below 2.00 points" in measured
    assert "design effect 1.50" in measured
    assert "groups make the variance 1.50 times" in measured
    by_chance = findings(audits({}, design_effect=0.9))[-1]
    assert "design effect 0.90: queries of one group go no more together" in by_chance
    assert by_chance.endswith("taken as 1).")
    not_measured = findings(audits({}, design_effect=None))[-1]
    assert "below 1.00 points" in not_measured
    assert "not measured" in not_measured
