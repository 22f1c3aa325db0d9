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
    ahead. References are the best of the table on the very queries compared. Of learned fusers, one
    that the best of them is not clearly ahead of is tied with it, and the simplest of those that
    pass is deployed (see ``Fuser.complexity``; of two alike the one ahead).

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
    tied = [row for row in ranked if row.kind == "learned" and not _clearly_behind(row, metric)]
    passing = [row for row in tied if _passes(row, metric, rule, rule_passes=rule_passes)]
    if learned and passing:
        chosen = min(passing, key=lambda row: row.complexity)  # the one ahead, of several alike
        reason = f"Deploy {chosen.name}: {_ahead(_hurdles(chosen, metric))} on {_label(metric)}"
        if chosen is not learned:
            behind = chosen.vs_best_learned[metric]
            reason += f"; {learned.name} is not clearly better than this simpler one "
            reason += f"({_ahead([behind])})"
        return Verdict("deploy-learned", chosen.name, metric, f"{reason}.")
    hurdles = _hurdles(learned, metric) if learned else []
    but = f"; {learned.name} is not clearly better ({_ahead(hurdles)})." if learned else "."
    if rule and rule_passes:
        ahead = _ahead([rule.vs_best_single[metric]])
        why = f"Deploy the rule {rule.name}: {ahead} on {_label(metric)}"
        return Verdict("deploy-rule", rule.name, metric, why + but)
    why = f"Stay with {single.name}: no rule is clearly ahead of it on {_label(metric)}"
    return Verdict("stay", single.name, metric, why + but)


def _hurdles(row: Row, metric: str) -> list[Difference]:
    """Return a learned row's differences to the best single model and the best rule, if any."""
    both = (row.vs_best_single, row.vs_best_static)
    return [against[metric] for against in both if metric in against]


def _passes(row: Row, metric: str, rule: Row | None, *, rule_passes: bool) -> bool:
    if not _clearly(row.vs_best_single[metric]):
        return False
    if rule is None:
        return True
    ahead = row.vs_best_static[metric]
    return _clearly(ahead) if rule_passes else ahead.value > 0


def _clearly_behind(row: Row, metric: str) -> bool:
    """Whether the best learned row is clearly ahead of this one."""
    difference = row.vs_best_learned.get(metric)
    return difference is not None and difference.high < 0 and difference.p_holm < ALPHA


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
