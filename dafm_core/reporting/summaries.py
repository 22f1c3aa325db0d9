"""What ``dafm compare`` and ``dafm inspect`` print: which tables and sentences, in which order."""

from __future__ import annotations

from collections.abc import Sequence

from dafm_core.comparison.compare import Comparison
from dafm_core.comparison.inspection import Inspection, StoredProvider
from dafm_core.comparison.rows import MEAN
from dafm_core.reporting.cells import (
    Cell,
    Table,
    count_cell,
    number_cell,
    percent_cell,
    table,
    text_cell,
)
from dafm_core.reporting.findings import (
    findings,
    headroom_table,
    singles_table,
    tags_table,
    undecided_singles,
)
from dafm_core.reporting.tables import comparison_table, difference_table
from dafm_core.reporting.terminal import print_notes, print_table, say, say_all


def print_comparison(comparison: Comparison) -> None:
    """Print a comparison: all rows, what learned fusers gain on the best rule, audits, verdict."""
    print_notes(comparison.notes)
    print_table(comparison_table(comparison))
    learned = [row for row in comparison.rows if row.kind == "learned"]
    if learned:
        say()
        print_table(difference_table(learned, [*comparison.metrics, MEAN]))
    say()
    print_table(singles_table(comparison.audits))
    say()
    say_all([*comparison.undecided, *findings(comparison.audits)])
    say()
    say_all([comparison.verdict.reason], style="bold")


def print_inspection(inspection: Inspection) -> None:
    """Print what ``dafm inspect`` found."""
    counts = f"{inspection.n_queries} queries in {inspection.n_groups} groups"
    unfinished = [f"unfinished: {name}" for name in inspection.unfinished]
    say(f"{inspection.store}: {inspection.protocol}, {counts} x {inspection.n_gallery} images")
    print_notes(inspection.problems)
    say_all(unfinished)
    if inspection.providers:
        print_table(_providers_table(inspection.providers))
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
        print_table(headroom_table(inspection.audits))
        if inspection.by_tag:
            say()
            print_table(tags_table(inspection.by_tag))
        say()
        print_table(singles_table(inspection.audits))
        say()
        say_all([*undecided_singles(inspection.audits), *findings(inspection.audits)])


def _providers_table(providers: Sequence[StoredProvider]) -> Table:
    """Return what is known of each matrix; columns that are empty throughout are left out."""
    lines = [_provider_cells(provider) for provider in providers]
    shown = [title for title in lines[0] if any(line[title].text for line in lines)]
    return table("Providers", shown, [[line[title] for title in shown] for line in lines])


def _coverage(provider: StoredProvider) -> str:
    """Return how long the shortlists are and what they leave out; nothing for dense rows."""
    if provider.passport.get("kind") != "shortlist":
        return ""
    rest = "rest not asked" if provider.passport["unknown"] == "not-asked" else "rest below"
    return f"lists of {provider.passport['shortest']} and more, {rest}"


def _provider_cells(provider: StoredProvider) -> dict[str, Cell]:
    ms, n_missing = provider.cost.ms_per_query, len(provider.missing_images)
    facts = (f"{key}={value[:12]}" for key, value in provider.fingerprint.items())
    return {
        "Name": text_cell(provider.name),
        "Source": text_cell(provider.source),
        "dtype": text_cell(provider.dtype),
        "Covers": text_cell(_coverage(provider)),
        "Cells tied, %": percent_cell(provider.tied_share),
        "Images missing": count_cell(n_missing) if n_missing else Cell("", 0),
        "ms per query": Cell("", 0) if ms is None else number_cell(ms),
        "Fingerprint": text_cell("  ".join(facts)),
    }
