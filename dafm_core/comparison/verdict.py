"""The gate: deploy the learned fusion, deploy a rule, or stay with one model; and say why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dafm_core.comparison.rows import Difference, Row
from dafm_core.metrics.spec import metric_label

ALPHA: Final = 0.05


@dataclass(frozen=True)
class Verdict:
    """What to deploy.

    Parameters
    ----------
    action : {"deploy-learned", "deploy-rule", "stay", "undecided"}
        Undecided where no single model decides the metric.
    name : str
        The row to deploy: a learned fuser, a static rule, or a provider.
    metric : str
        What was decided by.
    reason : str
        One line.
    """

    action: Literal["deploy-learned", "deploy-rule", "stay", "undecided"]
    name: str
    metric: str
    reason: str


def verdict(rows: Sequence[Row], *, metric: str = "mean") -> Verdict:
    """Return the simplest row that nothing more elaborate clearly beats.

    Clearly ahead means that the whole 95 % interval of the paired difference, clustered by group,
    is above zero, and that the adjusted p-value is below 5 % (with fewer than six groups it never
    is). A rule must be clearly ahead of the best single model. A learned fuser must be
    too, and clearly ahead of the best static rule where that rule could be deployed, else just
    ahead. References are the best of the table on the very queries compared.

    Parameters
    ----------
    rows : sequence of Row
        Of a comparison.
    metric : str, default="mean"
        A metric of the comparison, or the mean of all of them.
    """
    decided = [row for row in rows if row.metrics[metric].decided]
    ranked = sorted(decided, key=lambda row: -row.metrics[metric].value)
    learned = next((row for row in ranked if row.kind == "learned"), None)
    rule = next((row for row in ranked if row.kind == "static"), None)
    single = next((row for row in ranked if row.kind == "single"), None)
    if single is None:
        reason = f"No verdict: no single model decides {_label(metric)}. Lengthen its lists."
        return Verdict("undecided", "", metric, reason)
    rule_passes = rule is not None and _clearly(rule.vs_best_single[metric])
    if learned:
        hurdles = [learned.vs_best_single[metric]]
        passes = _clearly(hurdles[0])
        if rule:
            hurdles.append(learned.vs_best_static[metric])
            passes &= _clearly(hurdles[1]) if rule_passes else hurdles[1].value > 0
        if passes:
            reason = f"Deploy {learned.name}: {_ahead(hurdles)} on {_label(metric)}."
            return Verdict("deploy-learned", learned.name, metric, reason)
    but = f"; {learned.name} is not clearly better ({_ahead(hurdles)})." if learned else "."
    if rule and rule_passes:
        ahead = _ahead([rule.vs_best_single[metric]])
        why = f"Deploy the rule {rule.name}: {ahead} on {_label(metric)}"
        return Verdict("deploy-rule", rule.name, metric, why + but)
    why = f"Stay with {single.name}: no rule is clearly ahead of it on {_label(metric)}"
    return Verdict("stay", single.name, metric, why + but)


def _clearly(ahead: Difference) -> bool:
    return ahead.low > 0 and ahead.p_holm < ALPHA


def _ahead(hurdles: list[Difference]) -> str:
    parts = [
        f"{100 * h.value:+.2f} [{100 * h.low:+.2f}, {100 * h.high:+.2f}] against {h.reference}"
        for h in hurdles
    ]
    return " and ".join(parts)


def _label(metric: str) -> str:
    return "the mean of the metrics" if metric == "mean" else metric_label(metric)
