"""The first screen of a comparison: what to deploy, by which metric, at which price, what next.

Everything here is read off the comparison by the one rule of ``Difference.clear``; nothing is
measured anew. How it looks is ``reporting``'s.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from dafm_core.comparison.rows import Difference, Row
from dafm_core.comparison.verdict import Verdict
from dafm_core.ground.statistics import FEW_GROUPS
from dafm_core.metrics.spec import definitions, each_once, metric_label

if TYPE_CHECKING:
    from dafm_core.comparison.inspection import Cost

_ACTIONS: Final = {
    "deploy-learned": "Deploy the learned fusion",
    "deploy-rule": "Deploy the static rule",
    "stay": "Stay with one model",
    "undecided": "No verdict",
}


class Compared(Protocol):
    """What a decision is read off: a comparison, or the averages of several."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """Singles, static rules, learned fusers."""

    @property
    def averaged(self) -> tuple[str, ...]:
        """Metrics whose mean decides."""

    @property
    def verdict(self) -> Verdict:
        """What to deploy."""

    @property
    def n_queries(self) -> int:
        """Queries compared on."""

    @property
    def n_groups(self) -> int:
        """Groups of them."""

    def label(self, name: str) -> str:
        """Return what a row is called."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do, and what to know before.

    Parameters
    ----------
    headline : str
        What to deploy.
    facts : mapping of str to tuple of str
        Sentences by what they are about, in the order to be read.
    commands : mapping of str to str
        What to run next: command by what it is for.
    """

    headline: str
    facts: Mapping[str, tuple[str, ...]]
    commands: Mapping[str, str]


def decide(
    compared: Compared,
    *,
    costs: Mapping[str, Cost] | None = None,
    trials: str = "",
    stores: Sequence[str] = ("STORE",),
) -> Decision:
    """Return the decision that a comparison leads to.

    Parameters
    ----------
    compared : Comparison or FamilyAverages
    costs : mapping of provider to Cost, optional
        What scoring took.
    trials : str, optional
        How many configurations have been measured on these queries, in words.
    stores : sequence of str
        Paths of the stores, for the commands.
    """
    verdict = compared.verdict
    chosen = next((row for row in compared.rows if row.name == verdict.name), None)
    headline = _ACTIONS[verdict.action]
    facts: dict[str, tuple[str, ...]] = {
        "Why": (verdict.reason,),
        "Decided by": (_metric_words(compared),),
    }
    if chosen is not None:
        headline += f": {compared.label(chosen.name)}"
        facts |= {
            "Other fusions": _other_learned(chosen, compared),
            "Loses": _losses(chosen, compared),
        }
        facts["Costs"] = _cost_words(chosen, compared, costs or {})
    others = _losses_of_others(compared)
    if others:
        facts["Others lose"] = others
    if trials:
        facts["Trials"] = (trials,)
    if few := _few_groups(compared):
        facts["Few groups"] = (few,)
    return Decision(
        headline=headline,
        facts={name: lines for name, lines in facts.items() if lines},
        commands=_commands(verdict, stores),
    )


def clear_losses(row: Row) -> list[tuple[str, Difference]]:
    """Return every metric on which a row is clearly behind a reference, each reference once."""
    found: dict[tuple[str, str], Difference] = {}
    for against in (*row.against, row.vs_best):
        for metric, difference in against.items():
            if difference.loses:
                found.setdefault((metric, difference.reference), difference)
    return [(metric, difference) for (metric, _), difference in found.items()]


def _metric_words(compared: Compared) -> str:
    once = each_once(compared.averaged)
    names = ", ".join(map(metric_label, once))
    mean = f"the mean of {names}, each counted once" if len(once) > 1 else names
    return f"{mean}. {'. '.join(definitions(once))}."


def _other_learned(chosen: Row, compared: Compared) -> tuple[str, ...]:
    """Return how the other learned fusers differ from the best of them, paired by query."""
    metric = compared.verdict.metric
    if chosen.kind != "learned":
        return ()
    return tuple(
        f"{compared.label(row.name)}: {row.vs_best_learned[metric].numbers} against "
        f"{compared.label(row.vs_best_learned[metric].reference)}"
        for row in compared.rows
        if metric in row.vs_best_learned
    )


def _losses(row: Row, compared: Compared) -> tuple[str, ...]:
    lines = [
        f"{metric_label(metric)}: {loss.numbers} against {compared.label(loss.reference)}"
        for metric, loss in clear_losses(row)
    ]
    return tuple(lines) or ("On no metric is it clearly behind any row of the table.",)


def _losses_of_others(compared: Compared) -> tuple[str, ...]:
    """Return where other fusions clearly lose to the best single model, a line for each."""
    lines = []
    for row in compared.rows:
        lost = {m: d for m, d in row.vs_best_single.items() if d.loses}
        if lost and row.name != compared.verdict.name:
            parts = (
                f"{metric_label(m)} {100 * d.value:+.2f} to {compared.label(d.reference)}"
                for m, d in lost.items()
            )
            lines.append(f"{compared.label(row.name)} clearly loses {', '.join(parts)}")
    return tuple(lines)


def _cost_words(row: Row, compared: Compared, costs: Mapping[str, Cost]) -> tuple[str, ...]:
    """Return how many models a row runs and what they take, against the best single one."""
    singles = [r for r in compared.rows if r.complexity == 0]  # best-single is one of them
    metric = compared.verdict.metric
    decided = [r for r in singles if r.metrics[metric].decided] or singles
    if not decided:
        return ()
    best = max(decided, key=lambda r: r.metrics[metric].value)
    used = [row] if row.kind == "single" else singles
    words = f"{len(used)} of {len(singles)} models for every query"
    times = {name: cost.ms_per_query for name, cost in costs.items()}
    known = {name: time for name, time in times.items() if time is not None}
    if not known.keys() >= {r.name for r in (*used, best)}:
        return (f"{words}; how long each takes is not recorded for all of them.",)
    total, alone = sum(known[r.name] for r in used), known[best.name]
    words += f": {total:.1f} ms a query as measured while scoring"
    if row.kind != "single":
        words += f", {alone:.1f} ms for {compared.label(best.name)} alone"
    return (f"{words}.",)


def _few_groups(compared: Compared) -> str:
    n_groups = compared.n_groups
    if n_groups > FEW_GROUPS:
        return ""
    fused = sum(row.kind in ("static", "learned") for row in compared.rows)
    least = min(1.0, fused * 2.0 ** (1 - n_groups))
    words = (
        f"{compared.n_queries} queries, but in {n_groups} groups only: intervals are Student's t "
        "over groups, which holds for so few"
    )
    if least >= 0.001:
        words += f"; no adjusted p can be below {least:.3f} with {fused} fused rows"
    return f"{words}. More groups settle more than more queries of the same ones."


def _commands(verdict: Verdict, stores: Sequence[str]) -> dict[str, str]:
    store, all_stores = shlex.quote(stores[0]), " ".join(map(shlex.quote, stores))
    name = shlex.quote(verdict.name)
    if verdict.action == "undecided":
        return {"see what the lists leave open": f"dafm inspect {store}"}
    if verdict.action == "stay":
        return {
            "see what the models have to give each other": f"dafm inspect {store}",
            "try other options": f"dafm compare {all_stores} --fusers light --tune "
            "light.network=linear --tune light.network=residual",
        }
    return {
        "see what it breaks": f"dafm cases {store} --fusers {name} --outcome broke "
        "--report broke.html",
        "see whether every model is needed": f"dafm incremental {store} --fuser {name}",
        "fit it on all queries": f"dafm train {store} --fuser {name} --out model",
    }
