"""What a real browser makes of the pages, opened from disk; runs where Chromium is found."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dafm_core.cases.collecting import collect_cases
from dafm_core.comparison.compare import compare
from dafm_core.comparison.incremental import incremental
from dafm_core.comparison.tables import best_first
from dafm_core.datasets.base import Dataset
from dafm_core.evaluation.design import Folds
from dafm_core.fusion.static import MeanFusion, VotingFusion
from dafm_core.reporting.html import (
    write_cases_page,
    write_comparison_page,
    write_incremental_page,
    write_report,
)

NASTY = (
    "</script><script>window.stolen = 1</script>",
    "<img src=x onerror='window.stolen = 1'> \"quotes\" & 'more'",
    "كلب أحمر على اليسار",
    "🐶🐶 no dogs <!--",
)


@pytest.fixture
def problem(make_problem):
    dataset, stack = make_problem(n_queries=90, n_gallery=60, noise=(1.2, 1.6, 2.0))
    texts = pl.Series("text", [f"{NASTY[i % 4]} {i}" for i in range(90)])
    queries = dataset.queries.with_columns(texts)
    dataset = Dataset(protocol="toy", gallery_ids=dataset.gallery_ids, queries=queries)
    fusers = {"mean": MeanFusion(normalize="zscore"), "vote": VotingFusion()}
    return dataset, replace(stack, dataset=dataset), fusers


def assert_quiet(browser, path):
    """Nothing was complained about, and nothing but the file itself was asked for."""
    assert browser.complaints == []
    loaded = [url for url in browser.requests if not url.startswith("data:")]
    assert loaded == [path.resolve().as_uri()]
    assert browser.run("window.stolen") is None


OPENED = "document.querySelectorAll('details').forEach(fold => fold.open = true)"


@pytest.fixture
def pages(tmp_path, problem):
    """A comparison with cases and a page of subsets, of texts that are hard to show."""
    _, stack, fusers = problem
    comparison = compare(stack, fusers, design=Folds(3), n_resamples=50)
    steps = incremental(stack, MeanFusion(normalize="zscore"), design=Folds(3), n_resamples=50)
    cases = collect_cases(stack, fusers, depth=3, reasons=False)
    return [
        write_report(tmp_path / "report.html", "All", comparison=comparison, cases=cases),
        write_incremental_page(tmp_path / "subsets.html", steps),
    ]


def test_axe_finds_nothing_in_any_page(browser, pages):
    for path in pages:
        for dark in (False, True):
            browser.open(path, dark=dark)
            browser.run(OPENED)
            assert browser.violations() == [], (path.name, dark)


FOCUSABLE = """
[...document.querySelectorAll("a[href], button, input, select, summary, [tabindex]")].filter(
  part => part.tabIndex >= 0 && !part.disabled && part.checkVisibility()
)
"""
FOCUSED = """
(() => {
  const part = document.activeElement, box = part.getBoundingClientRect()
  const style = getComputedStyle(part)
  return [parts.indexOf(part), box.bottom > 0 && box.top < innerHeight,
          style.outlineStyle !== "none" || style.boxShadow !== "none"]
})()
"""


def test_every_control_is_reached_by_tab_in_order_and_shows_it(browser, pages):
    for path in pages:
        browser.open(path)
        n_parts = browser.run(f"(window.parts = {FOCUSABLE}).length")
        for number in range(n_parts):
            browser.press("Tab")
            place, in_sight, is_marked = browser.run(FOCUSED)
            html = browser.run(f"parts[{number}].outerHTML.slice(0, 200)")
            assert (place, in_sight, is_marked) == (number, True, True), (path.name, html)


def column(browser, table, number):
    script = f"[...document.querySelectorAll('#{table} tbody tr')].filter(r => !r.hidden)"
    return browser.run(f"{script}.map(r => r.cells[{number}].dataset.value)")


def test_comparison_sorts_and_filters_by_keyboard(browser, tmp_path, problem):
    _, stack, fusers = problem
    comparison = compare(stack, fusers, design=Folds(3), n_resamples=200)
    path = write_comparison_page(tmp_path / "page.html", [comparison])
    browser.open(path)
    kinds = [row.kind for row in best_first(comparison.rows, "mean")] + ["oracle"]
    given = column(browser, "results-1", 1)

    def sorted_within_kinds(sign):
        pairs = zip(kinds, map(float, given), strict=True)
        order = {kind: place for place, kind in enumerate(dict.fromkeys(kinds))}
        return [value for _, value in sorted(pairs, key=lambda p: (order[p[0]], sign * p[1]))]

    browser.run(
        "document.querySelector('#results-1 thead tr:last-child th:nth-child(2) button').focus()"
    )
    cell = "document.querySelector('#results-1 thead tr:last-child th:nth-child(2)')"
    head = f"{cell}.getAttribute('aria-sort')"
    browser.press("Enter")
    assert browser.run(head) == "descending"
    assert [*map(float, column(browser, "results-1", 1))] == sorted_within_kinds(-1)
    browser.press("Enter")
    assert browser.run(head) == "ascending"
    assert [*map(float, column(browser, "results-1", 1))] == sorted_within_kinds(1)
    browser.press("Enter")
    assert browser.run(head) is None
    assert column(browser, "results-1", 1) == given
    browser.run("document.querySelector('details').open = true")
    type_into(browser, "input[data-filters]", "VOTE")
    assert set(column(browser, "all-differences-1", 0)) == {"vote"}
    assert_quiet(browser, path)


def type_into(browser, selector, text):
    browser.run(
        f"(() => {{ const i = document.querySelector({selector!r}); i.value = {text!r};"
        "i.dispatchEvent(new Event('input', {bubbles: true})) })()"
    )


def test_cases_filter_open_and_stay_text(browser, tmp_path, problem):
    dataset, stack, fusers = problem
    cases = collect_cases(stack, fusers, depth=3, design=Folds(3))
    path = write_cases_page(tmp_path / "page.html", cases)
    browser.open(path)
    rows = "document.querySelectorAll('#case-list tbody tr').length"
    shown = "document.querySelector('#case-list caption').textContent"
    assert browser.run(rows) == 20  # of 90: only what is looked at exists
    assert browser.run(shown) == "90 of 90 queries of toy"
    for outcome in ("rescued", "broke", "failed", "solved", "missed"):
        type_into(browser, "select[name=outcome]", outcome)
        n = int((cases.outcomes("mean") == outcome).sum())
        assert browser.run(shown) == f"{n} of 90 queries of toy"
        assert browser.run(rows) == min(n, 20)
    type_into(browser, "select[name=outcome]", "")
    type_into(browser, "input[name=text]", "<script>")
    assert browser.run(shown) == "23 of 90 queries of toy"
    browser.run("document.querySelector('#case-list .open').focus()")
    browser.press("Enter")
    title = browser.run("document.querySelector('#case-cards h3').textContent")
    assert title.startswith(NASTY[0])
    row = dataset.queries["text"].to_list().index(title)
    ranks = browser.run(
        "[...document.querySelectorAll('#case-cards .hits p')].map(p => p.textContent)"
    )
    order = dict.fromkeys([cases.best_single, "mean", *cases.columns])  # before, after, others
    expected = [f"target at rank {cases.ranks[name][row]:g}" for name in order]
    assert ranks == expected
    marked = browser.run("document.querySelectorAll('#case-cards .hit.target').length")
    assert marked == sum(cases.ranks[name][row] <= 3 for name in cases.columns)
    assert_quiet(browser, path)


def test_a_case_has_an_address_neighbours_by_key_and_filters_that_count(browser, tmp_path, problem):
    _, stack, fusers = problem
    labels = {"mean": "The <b>Mean</b>", "model-0": "M 0"}
    cases = collect_cases(stack, fusers, depth=3, design=Folds(3), reasons=False, labels=labels)
    path = write_cases_page(tmp_path / "page.html", cases)
    browser.open(path)
    title = "document.querySelector('#case-cards small').textContent"
    first = browser.run(title)
    browser.press("n")
    second = browser.run(title)
    asked = browser.run("new URLSearchParams(location.hash.slice(1)).get('case')")
    assert f"query {asked}," in second != first
    assert browser.run("document.querySelectorAll('tr[aria-current]').length") == 1
    browser.press("p")
    assert browser.run(title) == first
    choices = (
        "[...document.querySelectorAll('select[name=outcome] option')].map(o => o.textContent)"
    )
    outcomes = cases.outcomes("mean").tolist()
    assert f"solved ({outcomes.count('solved')})" in browser.run(choices)
    wanted = cases.queries["query_id"][outcomes.index("failed")]
    browser.run(f"location.hash = '#case={wanted}&outcome=failed'")
    browser.run("window.dispatchEvent(new HashChangeEvent('hashchange'))")
    assert f"query {wanted}, failed under The <b>Mean</b>" in browser.run(title)
    heads = browser.run("[...document.querySelectorAll('#case-list th')].map(h => h.textContent)")
    assert {"The <b>Mean</b>", "M 0", "model-1"} <= set(heads)
    assert browser.run("document.querySelector('select[name=outcome]').value") == "failed"
    browser.run("location.hash = '#case=nobody'")
    browser.run("window.dispatchEvent(new HashChangeEvent('hashchange'))")
    assert "no query nobody" in browser.run("document.querySelector('#unknown-case').textContent")


def test_reasons_on_the_page_are_those_of_the_cases(browser, tmp_path, problem):
    _, stack, fusers = problem
    cases = collect_cases(stack, fusers, design=Folds(3)).take(np.array([5]))
    path = write_cases_page(tmp_path / "page.html", cases)
    browser.open(path)
    browser.run("document.querySelectorAll('#case-cards .fused .hit')[1].click()")
    cells = browser.run(
        "[...document.querySelectorAll('.why tbody tr')]"
        ".map(r => [...r.cells].map(c => c.textContent))"
    )
    parts = cases.breakdowns["mean"]
    for k, (name, score, rank, contribution, without) in enumerate(cells):
        assert name == stack.names[k]
        assert float(score) == pytest.approx(parts.standardised[0, 1, k], abs=0.006)
        assert float(rank) == parts.rank[0, 1, k]
        assert float(contribution) == pytest.approx(parts.contribution[0, 1, k], abs=0.006)
        assert float(without) == parts.rank_without[0, 1, k]
    assert_quiet(browser, path)


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_tables_not_the_page(browser, tmp_path, problem, dark):
    _, stack, fusers = problem
    fusers = {
        "a-name-of-sixty-characters-in-a-list-of-names-to-choose-from": VotingFusion(),
        **fusers,
    }
    comparison = compare(stack, fusers, design=Folds(3), n_resamples=200)
    cases = collect_cases(stack, fusers, design=Folds(3))
    path = write_report(tmp_path / "page.html", "All", comparison=comparison, cases=cases)
    browser.open(path, width=390, height=844, mobile=True, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") == 390
    lightness = browser.run("getComputedStyle(document.body).backgroundColor")
    assert lightness == ("rgb(18, 23, 29)" if dark else "rgb(255, 255, 255)")
    assert_quiet(browser, path)


def test_a_query_type_leads_to_its_cases(browser, tmp_path, problem):
    _, stack, fusers = problem
    comparison = compare(stack, fusers, n_resamples=50)
    cases = collect_cases(stack, fusers, depth=3, reasons=False)
    path = write_report(tmp_path / "page.html", "All", comparison=comparison, cases=cases)
    browser.open(path)
    browser.run("document.querySelector('a[href=\"#type=negation\"]').click()")
    browser.run("new Promise(done => setTimeout(done, 50))")
    assert browser.run("document.querySelector('select[name=type]').value") == "negation"
    shown = browser.run("document.querySelector('#case-list caption').textContent")
    n = next(t.n_queries for t in comparison.by_type if t.name == "negation")
    assert shown == f"{n} of 90 queries of toy"
    assert (
        browser.run("Math.abs(document.getElementById('browser').getBoundingClientRect().top)") < 99
    )
    assert_quiet(browser, path)


def test_four_thousand_queries_stay_small_and_quick(browser, tmp_path, make_problem):
    _, stack = make_problem(n_queries=400, n_gallery=300, noise=(1.2, 1.5, 2.0, 2.5))
    fusers = {"mean": MeanFusion(normalize="zscore"), "vote": VotingFusion()}
    few = collect_cases(stack, fusers, design=Folds(2))
    many = few.take(np.arange(4000) % 400)
    captions = dict.fromkeys(few.gallery_ids, "a brown dog on a red sofa, seen from the left ")
    path = write_cases_page(tmp_path / "page.html", many, captions=captions)
    assert path.stat().st_size < 5e6
    browser.open(path)
    type_into(browser, "input[name=text]", "text")
    seconds = browser.run(
        "Math.min(...[...document.querySelectorAll('#case-list th button')].map(b => {"
        "const start = performance.now(); b.click(); return (performance.now() - start) / 1000 }))"
    )
    assert seconds < 0.5  # the quickest of eight, to sort 4,000 queries and draw a page of them
    assert_quiet(browser, path)
