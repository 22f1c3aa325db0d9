"""What ``dafm compare`` and ``dafm inspect`` print: which tables and sentences, in which order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dafm_core.comparison.conclusion import conclude
from dafm_core.comparison.decision import Decision, decide
from dafm_core.comparison.families import FamilyAverages
from dafm_core.comparison.inspection import Cost, Inspection, StoredProvider
from dafm_core.comparison.result import Comparison
from dafm_core.comparison.rows import MEAN
from dafm_core.comparison.subset_tables import (
    Costs,
    falls_table,
    known_milliseconds,
    monotone_words,
    subset_table,
    worth_table,
)
from dafm_core.comparison.subset_values import Incremental
from dafm_core.comparison.tables import (
    best_first,
    comparison_table,
    difference_table,
    families_table,
)
from dafm_core.comparison.type_table import type_table
from dafm_core.reporting.findings import (
    curve_table,
    findings,
    headroom_table,
    singles_table,
    tags_table,
    undecided_singles,
)
from dafm_core.reporting.saying import print_notes, say, say_all
from dafm_core.reporting.terminal import print_facts, print_table
from dafm_core.tables.cells import (
    Cell,
    Table,
    count_cell,
    number_cell,
    percent_cell,
    table,
    text_cell,
)


def print_comparison(
    comparison: Comparison,
    *,
    costs: Mapping[str, Cost] | None = None,
    stores: Sequence[str] = ("STORE",),
) -> None:
    """Print a comparison: the decision, all rows, what learned fusers gain, audits.

    Parameters
    ----------
    comparison : Comparison
    costs, stores
        As :meth:`Comparison.decision`.
    """
    print_notes(comparison.notes)
    print_decision(comparison.decision(costs=costs, stores=stores))
    say()
    _print_results(comparison)


def print_families(
    averages: FamilyAverages,
    *,
    costs: Mapping[str, Cost] | None = None,
    stores: Sequence[str] = ("STORE",),
) -> None:
    """Print the one decision on averages over families, their table, and then each family."""
    print_decision(decide(averages, costs=costs, stores=stores))
    say()
    print_table(families_table(averages))
    for comparison in averages.families.values():
        say()
        print_notes(comparison.notes)
        _print_results(comparison)


def print_types(comparisons: Sequence[Comparison]) -> None:
    """Print the table of query types of each comparison."""
    for comparison in comparisons:
        if found := type_table(comparison):
            say()
            print_table(found)
            say_all(found.notes)


def print_incremental(result: Incremental, costs: Costs) -> None:
    """Print which models to run, every set of them, clear losses, and what each is worth."""
    print_notes(result.notes)
    if found := conclude(result, costs=known_milliseconds(result, costs)):
        say_all(found.words[:1], style="bold")
        say_all(found.words[1:])
        say()
    print_table(subset_table(result, costs))
    if falls := falls_table(result):
        say()
        print_table(falls)
    say()
    say_all(monotone_words(result))
    say()
    print_table(worth_table(result, costs))


def print_decision(decision: Decision) -> None:
    """Print what to do, why, and what to know before, as the first screen."""
    say_all([decision.headline], style="bold")
    lines = {name: list(sentences) for name, sentences in decision.facts.items()}
    lines["Next"] = [f"to {what}: {command}" for what, command in decision.commands.items()]
    print_facts(lines)


def _print_results(comparison: Comparison) -> None:
    label, metrics = comparison.label, [*comparison.metrics, MEAN]
    print_table(comparison_table(comparison))
    learned = [row for row in best_first(comparison.rows, MEAN) if row.kind == "learned"]
    if learned:
        say()
        print_table(difference_table(learned, metrics, label=label))
    say()
    print_table(singles_table(comparison.audits, label=label))
    say()
    say_all([*comparison.undecided, *findings(comparison.audits, label=label)])


def print_inspection(inspection: Inspection) -> None:
    """Print what ``dafm inspect`` found."""
    label = inspection.label
    counts = f"{inspection.n_queries} queries in {inspection.n_groups} groups"
    unfinished = [f"unfinished: {name}" for name in inspection.unfinished]
    say(f"{inspection.store}: {inspection.protocol}, {counts} x {inspection.n_gallery} images")
    print_notes(inspection.problems)
    say_all(unfinished)
    if inspection.providers:
        print_table(_providers_table(inspection))
    if inspection.damage is not None:
        say(f"checksums: {len(inspection.damage)} damaged blocks")
    if not inspection.providers:
        say("no providers: no matrix is complete, so nothing can be measured here")
    elif inspection.audits is None:
        say("no query names a target: nothing can be measured here")
    else:
        say()
        if inspection.n_measured < inspection.n_queries:
            say(f"measured on {inspection.n_measured} of {inspection.n_queries} queries")
        print_table(headroom_table(inspection.audits, label=label))
        if inspection.by_tag:
            say()
            print_table(tags_table(inspection.by_tag, label=label))
        say()
        print_table(singles_table(inspection.audits, label=label))
        say()
        undecided = undecided_singles(inspection.audits, label=label)
        say_all([*undecided, *findings(inspection.audits, label=label)])
    if inspection.learning_curve is not None:
        say()
        curve = curve_table(inspection.learning_curve)
        print_table(curve)
        say_all(curve.notes)


def _providers_table(inspection: Inspection) -> Table:
    """Return what is known of each matrix; columns that are empty throughout are left out."""
    lines = [_provider_cells(p, inspection.label(p.name)) for p in inspection.providers]
    shown = [title for title in lines[0] if any(line[title].text for line in lines)]
    return table("Providers", shown, [[line[title] for title in shown] for line in lines])


def _coverage(provider: StoredProvider) -> str:
    """Return how long the shortlists are and what they leave out; nothing for dense rows."""
    if provider.passport.get("kind") != "shortlist":
        return ""
    rest = "rest not asked" if provider.passport["unknown"] == "not-asked" else "rest below"
    return f"lists of {provider.passport['shortest']} and more, {rest}"


def _without_tail(value: str) -> str:
    """Return a fact with the hashes in it by their first digits."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b", r"\1", value)


def _provider_cells(provider: StoredProvider, label: str) -> dict[str, Cell]:
    ms, n_missing = provider.cost.ms_per_query, len(provider.missing_images)
    facts = (f"{key}={_without_tail(value)}" for key, value in provider.fingerprint.items())
    return {
        "Name": text_cell(provider.name),
        "Label": text_cell(label if label != provider.name else ""),
        "Source": text_cell(provider.source),
        "dtype": text_cell(provider.dtype),
        "Covers": text_cell(_coverage(provider)),
        "Cells tied, %": percent_cell(provider.tied_share),
        "Images missing": count_cell(n_missing) if n_missing else Cell("", 0),
        "ms per query": Cell("", 0) if ms is None else number_cell(ms),
        "Fingerprint": text_cell("  ".join(facts)),
    }
