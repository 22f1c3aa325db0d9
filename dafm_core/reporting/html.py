"""The pages dafm writes: a comparison, an incremental analysis, cases, and all of it together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dafm_core.reporting.page import Section, write_page

if TYPE_CHECKING:
    from dafm_core.cases.cases import Cases
    from dafm_core.cases.explain import Learned
    from dafm_core.comparison.result import Comparison
    from dafm_core.comparison.subset_tables import Costs
    from dafm_core.comparison.subset_values import Incremental

THUMBNAIL_BUDGET = 6_000_000
"""Bytes of thumbnails on a page, by default."""


def write_comparison_page(
    path: str | Path,
    comparisons: Sequence[Comparison],
    *,
    costs: Costs | None = None,
    stores: Sequence[str] = ("STORE",),
) -> Path:
    """Write one comparison, or those of a benchmark's families with their averages.

    The page also holds ``to_json()`` of each comparison, where every number shown is found.

    Parameters
    ----------
    path : path
    comparisons : sequence of Comparison
    costs : mapping of provider to Cost, optional
        What scoring took.
    stores : sequence of str
        Paths of the stores, for the commands to run next.

    Raises
    ------
    OptionError
        If several comparisons are not of the families of one benchmark, or the file cannot be
        written.
    """
    from dafm_core.reporting.comparison_section import comparison_section

    protocols = ", ".join(comparison.protocol for comparison in comparisons)
    section = comparison_section(comparisons, costs=costs, stores=stores)
    return write_page(path, f"Fusion compared on {protocols}", [section])


def write_incremental_page(
    path: str | Path,
    result: Incremental,
    *,
    costs: Costs | None = None,
    redundancy: Mapping[str, float] | None = None,
) -> Path:
    """Write what each model is worth.

    Parameters
    ----------
    path : path
    result : Incremental
    costs : mapping of provider to Cost, optional
        What scoring took; quality is set against cost where all are known.
    redundancy : mapping of "a & b" to float, optional
        Mean rank correlations, as ``audit.redundancy`` has them.
    """
    from dafm_core.reporting.incremental_section import incremental_section

    title = f"What each model is worth on {result.protocol}"
    section = incremental_section(result, costs=costs, redundancy=redundancy)
    return write_page(path, title, [section], provenance=result.provenance)


def write_cases_page(
    path: str | Path,
    cases: Cases,
    *,
    images: Mapping[str, Path] | None = None,
    captions: Mapping[str, str] | None = None,
    thumbnail_budget: int = THUMBNAIL_BUDGET,
) -> Path:
    """Write a page that browses cases; up to twelve are all shown.

    Parameters
    ----------
    path : path
    cases : Cases
        In the order to be shown first.
    images : mapping of str to Path, optional
        Files of reference and gallery images.
    captions : mapping of str to str, optional
        Shown where there is no thumbnail; else the id is.
    thumbnail_budget : int
        Bytes of embedded thumbnails.
    """
    from dafm_core.reporting.cases_section import cases_section

    section = cases_section(
        cases, images=images, captions=captions, thumbnail_budget=thumbnail_budget
    )
    title = f"Cases of {cases.protocol}"
    return write_page(path, title, [section], provenance=cases.provenance)


def write_report(
    path: str | Path,
    title: str,
    *,
    comparison: Comparison | None = None,
    learned: Learned | None = None,
    result: Incremental | None = None,
    costs: Costs | None = None,
    stores: Sequence[str] = ("STORE",),
    cases: Cases | None = None,
    images: Mapping[str, Path] | None = None,
    thumbnail_budget: int = THUMBNAIL_BUDGET,
) -> Path:
    """Write one page of several parts, those that are given; parameters as for each page."""
    from dafm_core.reporting.cases_section import cases_section
    from dafm_core.reporting.comparison_section import comparison_section
    from dafm_core.reporting.incremental_section import incremental_section
    from dafm_core.reporting.learned_section import learned_section

    sections: list[Section] = []
    if comparison is not None:
        sections.append(comparison_section([comparison], costs=costs, stores=stores, cases=cases))
    if learned is not None:
        sections.append(learned_section(learned))
    if result is not None:
        sections.append(incremental_section(result, costs=costs))
    if cases is not None:
        sections.append(
            cases_section(cases, images=images, captions=None, thumbnail_budget=thumbnail_budget)
        )
    return write_page(path, title, sections)
