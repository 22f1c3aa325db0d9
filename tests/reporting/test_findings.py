"""What the audits found, in words."""

import pytest

from dafm_core.reporting.findings import findings

AUDITS = {
    "order": {"words": "Order."},
    "resolution": {
        "clustered_half_width": 0.01,
        "n_queries": 9,
        "n_groups": 3,
        "design_effect": 1.0,
    },
    "leakage": None,
    "trials": None,
}


@pytest.mark.parametrize(
    ("overlap", "shares"),
    [
        ({"a & b": 0.5}, "both fail 50 % (a & b)."),
        ({"a & b": 0.5, "a & c": 0.91, "b & c": 0.2}, "both fail 20 % (b & c) to 91 % (a & c)."),
    ],
)
def test_shared_errors_name_the_least_and_the_most(overlap, shares):
    headroom = {"error_overlap": overlap, "solved_metric": "recall@1"}
    first, *_ = findings(AUDITS | {"headroom": headroom})
    assert first == f"Of the queries that either of two models fails (R@1), {shares}"


def test_one_model_shares_no_errors():
    headroom = {"error_overlap": {}, "solved_metric": "recall@1"}
    assert findings(AUDITS | {"headroom": headroom})[0] == "Order."
