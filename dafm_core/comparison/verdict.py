"""The gate: deploy the learned fusion, deploy a rule, or stay with one model; and say why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dafm_core.comparison.rows import ALPHA, Difference, Row
from dafm_core.metrics.spec import metric_label


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
        One line; every p-value in it is the adjusted one.
    """

    action: Literal["deploy-learned", "deploy-rule", "stay", "undecided"]
    name: str
    metric: str
    reason: str


def verdict(
    rows: Sequence[Row], *, metric: str = "mean", label: Callable[[str], str] = str
) -> Verdict:
    """Return the simplest row that nothing more elaborate clearly beats.

    Clearly ahead means that the whole 95 % interval of the paired difference, clustered by group,
    is above zero, and that the adjusted p-value is below 5 % (with fewer than six groups it never
    is): ``Difference.clear``. A rule must be clearly ahead of the best single model. A learned
    fuser must be
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
    label : callable, default=str
        What the reason calls a row.
    """
    decided = [row for row in rows if row.metrics[metric].decided]
    ranked = sorted(decided, key=lambda row: -row.metrics[metric].value)
    learned = next((row for row in ranked if row.kind == "learned"), None)
    rule = next((row for row in ranked if row.kind == "static"), None)
    single = next((row for row in ranked if row.kind == "single"), None)
    if single is None:
        reason = f"No verdict: no single model decides {_name(metric)}. Lengthen its lists."
        return Verdict("undecided", "", metric, reason)
    rule_passes = rule is not None and rule.vs_best_single[metric].gains
    tied = [row for row in ranked if row.kind == "learned" and not _clearly_behind(row, metric)]
    passing = [row for row in tied if _passes(row, metric, rule, rule_passes=rule_passes)]
    if learned and passing:
        chosen = min(passing, key=lambda row: row.complexity)  # the one ahead, of several alike
        hurdles = _ahead(_hurdles(chosen, metric), label)
        reason = f"Deploy {label(chosen.name)}: {hurdles} on {_name(metric)}"
        if chosen is not learned:
            behind = chosen.vs_best_learned[metric]
            reason += f"; {label(learned.name)} is not clearly better than this simpler one "
            reason += f"({_ahead([behind], label)})"
        return Verdict("deploy-learned", chosen.name, metric, f"{reason}.")
    but = f"; {_shortfall(learned, metric, label)}." if learned else "."
    if rule and rule_passes:
        ahead = _ahead([rule.vs_best_single[metric]], label)
        why = f"Deploy the rule {label(rule.name)}: {ahead} on {_name(metric)}"
        return Verdict("deploy-rule", rule.name, metric, why + but)
    why = f"Stay with {label(single.name)}: no rule is clearly ahead of it on {_name(metric)}"
    if rule:
        why += f" ({_ahead([rule.vs_best_single[metric]], label)} for {label(rule.name)})"
    return Verdict("stay", single.name, metric, why + but)


def _hurdles(row: Row, metric: str) -> list[Difference]:
    """Return a learned row's differences to the best single model and the best rule, if any."""
    both = (row.vs_best_single, row.vs_best_static)
    return [against[metric] for against in both if metric in against]


def _passes(row: Row, metric: str, rule: Row | None, *, rule_passes: bool) -> bool:
    if not row.vs_best_single[metric].gains:
        return False
    if rule is None:
        return True
    ahead = row.vs_best_static[metric]
    return ahead.gains if rule_passes else ahead.value > 0


def _clearly_behind(row: Row, metric: str) -> bool:
    """Whether the best learned row is clearly ahead of this one."""
    difference = row.vs_best_learned.get(metric)
    return difference is not None and difference.loses


def _shortfall(row: Row, metric: str, label: Callable[[str], str]) -> str:
    """Return what a learned row lacks, and by which part of the rule."""
    hurdles = _hurdles(row, metric)
    words = f"{label(row.name)} is not clearly better ({_ahead(hurdles, label)}"
    if any(hurdle.low > 0 and hurdle.p_holm >= ALPHA for hurdle in hurdles):
        words += f"; above zero, but clearly takes an adjusted p below {ALPHA:g} too"
    return words + ")"


def _ahead(hurdles: list[Difference], label: Callable[[str], str]) -> str:
    return " and ".join(f"{hurdle.numbers} against {label(hurdle.reference)}" for hurdle in hurdles)


def _name(metric: str) -> str:
    return "the mean of the metrics" if metric == "mean" else metric_label(metric)
