"""Pages, read with the standard library's parser; what browsers make of them: test_browser."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
import pytest
from PIL import Image

from dafm_core.cases.collecting import collect_cases
from dafm_core.cases.explain import learned
from dafm_core.comparison.compare import compare
from dafm_core.comparison.incremental import incremental
from dafm_core.comparison.inspection import Cost
from dafm_core.errors import OptionError
from dafm_core.evaluation.design import Folds
from dafm_core.fusion.static import MeanFusion, VotingFusion, WeightedFusion
from dafm_core.reporting.html import (
    write_cases_page,
    write_comparison_page,
    write_incremental_page,
    write_report,
)
from dafm_core.reporting.page import embed

NASTY = (
    '</script><script>alert("x")</script>',
    "has \"quotes\" & 'apostrophes' <b>bold</b>",
    "كلب أحمر على اليسار",
    "🐶🐶 no dogs <!-- \u2028",
)


class Page(HTMLParser):
    """Texts of cells by table id, embedded JSON by id, and every tag with its attributes."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.tables, self.json, self._table, self._cell = [], {}, {}, None, None
        self._script = None
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag == "table":
            self._table = self.tables.setdefault(attrs["id"], [])
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("td", "th") and self._table is not None:
            self._cell = {"text": "", "value": attrs.get("data-value"), "class": attrs.get("class")}
            self._table[-1].append(self._cell)
        elif tag == "small":
            self._cell = None
        elif tag == "script":
            self._script = attrs.get("id")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None
        elif tag == "thead":
            del self._table[:-1]  # the titles of groups
        elif tag == "table":
            self._table = None
        elif tag == "script":
            self._script = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell["text"] += data
        elif self._script:
            self.json[self._script] = json.loads(data)


@pytest.fixture(scope="module")
def fusers():
    return {"mean": MeanFusion(), "<i>vote</i>": VotingFusion(), "weighted": WeightedFusion()}


@pytest.fixture
def problem(make_problem):
    dataset, stack = make_problem(n_queries=60, n_gallery=40)
    texts = [f"{NASTY[i % 4]} {i}" for i in range(60)]
    queries = dataset.queries.with_columns(pl.Series("text", texts))
    dataset = type(dataset)(**{**vars_of(dataset), "queries": queries})
    return dataset, replace(stack, dataset=dataset)


def vars_of(dataset):
    return {name: getattr(dataset, name) for name in ("protocol", "gallery_ids", "metrics")}


@pytest.fixture
def comparison(problem, fusers):
    _, stack = problem
    return compare(stack, fusers, design=Folds(3), n_resamples=200)


@pytest.fixture
def record(comparison):
    return comparison.to_json()


def assert_self_contained(page):
    """No address of another file or host stands anywhere a browser would follow it."""
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
    assert not re.search(r"https?://|@import|url\((?!#)", page.source)


def test_every_number_of_the_comparison_is_the_jsons(tmp_path, comparison, record):
    page = Page(write_comparison_page(tmp_path / "page.html", [comparison]))
    assert_self_contained(page)
    assert page.json["comparison-1"] == json.loads(json.dumps(record))
    kinds = ["single", "static", "learned"]
    by_kind = sorted(
        record["rows"],
        key=lambda row: (kinds.index(row["kind"]), -row["metrics"]["mean"]["value"]),
    )
    rows = [*by_kind, record["oracle"]]
    table = page.tables["results-1"][1:]
    assert [row[0]["text"] for row in table[:-1]] == [row["name"] for row in by_kind]
    for shown, row in zip(table, rows, strict=True):
        values = [row["metrics"][metric]["value"] for metric in (*record["metrics"], "mean")]
        assert [float(cell["value"]) for cell in shown[1:]] == values
        assert [cell["text"].strip() for cell in shown[1:]] == [f"{value:.2f}" for value in values]
    shown = {(r[0]["text"], r[1]["text"]): r for r in page.tables["differences-1"][1:]}
    for row in record["rows"]:
        for against in ("vs_best_single", "vs_best_static"):
            if difference := row[against].get("mean"):
                cells = shown.pop((row["name"], difference["reference"]))
                keys = ("value", "p_value", "p_holm", "wins", "ties", "losses", "detectable")
                assert [float(c["value"]) for c in cells[3:]] == [difference[k] for k in keys]
    assert not shown
    assert record["verdict"]["reason"].split(":")[0] in page.source


def test_the_best_is_marked_and_what_is_not_clearly_behind_it(tmp_path, comparison, record):
    page = Page(write_comparison_page(tmp_path / "page.html", [comparison]))
    rows = {row["name"]: row for row in record["rows"]}
    shown = page.tables["results-1"][1:-1]
    for column, metric in enumerate((*comparison.metrics, "mean"), 1):
        best = max(float(row[column]["text"]) for row in shown)
        for row in shown:
            marks = row[column]["class"].split()
            is_best = float(row[column]["text"]) == best
            behind = rows[row[0]["text"]]["vs_best"].get(metric)
            clear = behind and behind["high"] < 0 and behind["p_holm"] < 0.05
            assert "best" in marks if is_best else "best" not in marks
            assert ("tied" in marks) == (not is_best and not clear)
    assert not any("best" in cell["class"] for cell in page.tables["results-1"][-1][1:])


def test_names_and_texts_stay_text(tmp_path, problem, comparison, fusers):
    dataset, stack = problem
    page = Page(write_comparison_page(tmp_path / "page.html", [comparison]))
    assert "<i>" not in page.source
    cases = collect_cases(stack, fusers, design=Folds(3))
    page = Page(write_cases_page(tmp_path / "cases.html", cases, captions={"img0": NASTY[0]}))
    assert_self_contained(page)
    assert page.json["cases-json"]["texts"] == dataset.queries["text"].to_list()
    assert page.json["cases-json"]["captions"].popitem()[1] == NASTY[0]
    assert page.source.count("<script") == 3  # the values, and our own two
    assert "<b>bold" not in page.source


def test_embedded_json_cannot_end_its_element_and_reads_back():
    value = {"text": "</ScRiPt><!-- \u2028 & ]]>"}
    shown = str(embed(value))
    assert not set("<>&\u2028") & set(shown)
    assert json.loads(shown) == value
    with pytest.raises(ValueError, match="JSON compliant"):
        embed(float("nan"))


def test_the_incremental_page_has_every_subset_and_sentence(tmp_path, problem):
    _, stack = problem
    result = incremental(stack, MeanFusion(), design=Folds(3), base="model-0", n_resamples=200)
    costs = {name: Cost(ms_per_query=2.0, peak_memory_gb=0.5) for name in stack.names}
    page = Page(write_incremental_page(tmp_path / "page.html", result, costs=costs))
    assert_self_contained(page)
    record = page.json["incremental-json"]
    assert record == json.loads(json.dumps(result.to_json()))
    by_name = {" + ".join(subset["providers"]): subset for subset in record["subsets"]}
    assert len(page.tables["subsets"]) == len(by_name) + 1
    for shown in page.tables["subsets"][1:]:
        subset = by_name[shown[0]["text"]]
        metrics = (*record["metrics"], "mean")
        values = [subset["metrics"][metric]["value"] for metric in metrics]
        assert [float(cell["value"]) for cell in shown[2:-2]] == values
        assert [float(cell["value"]) for cell in shown[-2:]] == [
            2.0 * len(subset["providers"]),
            0.5 * len(subset["providers"]),
        ]
    assert all(sentence in page.source for sentence in record["monotone"].values())
    assert page.source.count("<svg") == 4  # two metrics, added last, cost
    page = Page(write_incremental_page(tmp_path / "page.html", result))
    assert page.source.count("<svg") == 3
    assert "No cost is known" in page.source
    unknown = costs | {stack.names[0]: Cost(peak_memory_gb=0.5)}
    page = Page(write_incremental_page(tmp_path / "page.html", result, costs=unknown))
    assert "No cost is known" in page.source
    assert page.tables["subsets"][0][-1]["text"] == "Mean"


def test_one_page_of_everything_is_the_same_bytes_each_time(
    tmp_path, problem, comparison, monkeypatch
):
    _, stack = problem
    train, held_out = stack.split()
    fuser = WeightedFusion().fit(train)
    history = [[{"epoch": i, "loss": 1 / (i + 1), "recall@1": 0.2} for i in range(4)]]
    monkeypatch.setattr(WeightedFusion, "history_", history)
    explained = learned("weighted", fuser, held_out)
    result = incremental(held_out, fuser, name="weighted", design=Folds(3), n_resamples=99)
    cases = collect_cases(held_out, {"weighted": fuser})
    paths = [tmp_path / "a.html", tmp_path / "b.html"]
    for path in paths:
        write_report(
            path,
            "All & more",
            comparison=comparison,
            learned=explained,
            result=result,
            cases=cases,
        )
    page = Page(paths[0])
    assert_self_contained(page)
    assert page.source == paths[1].read_text(encoding="utf-8")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert sections == ["comparison", "learned", "incremental", "cases"]
    assert len(set(ids)) == len(ids)
    assert "Loss while weighted was fitted" in page.source
    shown = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page.source, flags=re.DOTALL)
    for name in ("recall@", "rsubset@", "WeightedFusion"):  # R@1, Rs@1, weighted everywhere
        assert name not in shown


def test_thumbnails_keep_to_their_budget_and_the_page_says_so(tmp_path, problem):
    dataset, stack = problem
    cases = collect_cases(stack, {})
    images = {}
    for i, image_id in enumerate(dataset.gallery_ids[:30]):
        images[image_id] = tmp_path / f"{image_id}.png"
        Image.new("RGBA", (300, 200), (8 * i, 90, 200, 128)).save(images[image_id])
    budget = 9_000
    path = write_cases_page(tmp_path / "page.html", cases, images=images, thumbnail_budget=budget)
    page = Page(path)
    assert_self_contained(page)
    pictures = page.json["cases-json"]["thumbnails"]
    assert 0 < sum(map(len, pictures.values())) <= budget
    assert re.search(rf"Thumbnails of {len(pictures)} of 40 images; \d+ do not fit", page.source)
    assert all(uri.startswith("data:image/jpeg;base64,/9j/") for uri in pictures.values())


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path, comparison):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OptionError, match="cannot be written"):
        write_comparison_page(tmp_path / "taken" / "page.html", [comparison])
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
