"""What reaches a terminal: whole numbers at every width, and nothing that a reader cannot see."""

import contextlib
import io
import json
import re
import string
import subprocess
import sys
import unicodedata
from itertools import groupby

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dafm_core.cases.collecting import collect_cases
from dafm_core.comparison.compare import compare
from dafm_core.comparison.inspection import inspect_store
from dafm_core.evaluation.design import Folds
from dafm_core.fusion.static import MeanFusion
from dafm_core.reporting import saying, summaries, terminal
from dafm_core.reporting.cases_section import hits_table, list_table, reasons_table
from dafm_core.reporting.layout import GAP, fold, group_lines, lay_out
from dafm_core.store.store import SimilarityStore
from dafm_core.tables.cells import Cell, Column, percent_cell, table, text_cell

WIDTHS = (60, 80, 120, 200)
HOSTILE = (
    "[/bold]",
    "[red]x[/red]",
    "[link=http://example.org]",
    ":smile:",
    "\x1b[2J\x1b]0;title\x07",
    "a\rb\nc\td",
    "\u202egpj.exe",
    "\x9b31m",
    "\ud800",
)


def shown(print_something):
    """Return what a call prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        print_something()
    return printed.getvalue()


letters = st.text(string.ascii_letters + string.digits + "-_[]/:", min_size=1, max_size=45)
names = letters.filter(lambda name: not name.startswith("intervals"))  # which are left out by name
GROUPS = ("", "gallery head", "the subset's own few hard candidates")
numbers = st.integers(0, 10**9) | st.floats(-1e6, 1e6).map(lambda x: round(x, 2))


@st.composite
def tables(draw):
    kinds = ["name", *draw(st.lists(st.sampled_from(["name", "number", "span"]), max_size=14))]
    titles = draw(st.lists(names, min_size=len(kinds), max_size=len(kinds), unique=True))

    def cell(kind):
        if kind == "name":
            return text_cell(draw(names))
        value = draw(numbers)
        note = f"[{value - 1:.2f}, {value + 1:.2f}]" if kind == "span" else ""
        return Cell(f"{value:+.2f}" if kind == "span" else str(value), value, note)

    n_rows = draw(st.integers(1, 4))
    rows = tuple(tuple(cell(kind) for kind in kinds) for _ in range(n_rows))
    essential = draw(st.lists(st.sampled_from(titles), max_size=2))
    groups = draw(st.lists(st.sampled_from(GROUPS), min_size=len(kinds), max_size=len(kinds)))
    columns = [
        Column(title, group=group if place else "", essential=title in essential)
        for place, (title, group) in enumerate(zip(titles, groups, strict=True))
    ]
    return table("A caption.", columns, rows)


WIDE = table(
    "Comparison",
    ["Method", *(f"recall@{k}" for k in range(1, 9)), "Mean"],
    [
        (text_cell(f"captions-sentence-transformer-{i}"), *[percent_cell(1.0, (0.9, 1.0))] * 9)
        for i in range(3)
    ],
    kinds=("single",) * 3,
    essential=["Mean"],
)


@pytest.mark.parametrize("width", WIDTHS)
@settings(max_examples=60, deadline=None)
@given(drawn=tables())
@example(drawn=WIDE)
def test_every_number_and_name_of_a_shown_column_is_whole(width, drawn):
    layout = lay_out(drawn, width)
    printed = shown(lambda: terminal.print_table(drawn, width=width))
    body = printed.splitlines()[1:]
    assert all(len(line) <= width for line in body)
    start = 0
    for column, places, noted in zip(layout.columns, layout.widths, layout.noted, strict=True):
        strip = [line[start : start + places].strip() for line in body]
        start += places + GAP
        cells = [row[column] for row in drawn.rows]
        if drawn.numeric[column]:
            missing = [cell.text for cell in cells if cell.text not in strip]
            assert missing == []
            if noted:
                assert [cell.note for cell in cells if cell.note not in strip] == []
        else:
            assert "".join(cell.text for cell in cells) in "".join(strip)
    gone = set(drawn.names) - {drawn.names[column] for column in layout.columns}
    said = " ".join(printed[printed.find("Left out at") :].split()) if layout.left_out else ""
    assert {name for name in layout.left_out if not name.startswith("intervals")} == gone
    assert all(re.sub(r"\s", "", title) in re.sub(r"\s", "", said) for title in gone)


@settings(max_examples=60, deadline=None)
@given(drawn=tables(), width=st.integers(60, 200))
def test_a_group_stands_over_its_columns_and_no_others(drawn, width):
    layout = lay_out(drawn, width)
    lines = group_lines(drawn, layout)
    assert all(len(line) <= width for line in lines)
    places = list(zip(layout.columns, layout.widths, strict=True))
    start = 0
    for group, of_group in groupby(places, key=lambda place: drawn.columns[place[0]].group):
        widths = [places for _, places in of_group]
        stop = start + sum(widths) + GAP * (len(widths) - 1)
        above = "".join(line[start:stop].strip() for line in lines)
        assert above.replace(" ", "") == group.replace(" ", "") + "─" * (stop - start) * bool(group)
        start = stop + GAP


@settings(max_examples=60, deadline=None)
@given(drawn=tables(), width=st.integers(60, 200))
def test_nothing_is_left_out_that_would_fit(drawn, width):
    layout = lay_out(drawn, width)
    wider = lay_out(drawn, width + 1)
    assert set(layout.columns) <= set(wider.columns) or sum(layout.noted) < sum(wider.noted)
    if not layout.left_out:
        assert layout.columns == tuple(range(len(drawn.columns)))
    assert layout.columns[0] == 0
    assert sum(layout.widths) + GAP * (len(layout.widths) - 1) <= width


def test_the_column_that_decides_is_left_out_last():
    layout = lay_out(WIDE, 36)
    assert [WIDE.names[c] for c in layout.columns] == ["Method", "recall@1", "Mean"]
    assert layout.left_out == (*(f"recall@{k}" for k in range(2, 9)), "intervals")


def test_titles_share_what_is_to_spare():
    """One title stood on four lines, and those beside it on one."""
    titles = (
        "Model",
        "Only it solves, %",
        "Targets tied, %",
        "R@1 if ties lose",
        "R@1 if ties win",
    )
    drawn = table("", titles, [(text_cell("a"), *map(percent_cell, (0.1, 0.2, 0.3, 0.4)))])
    for width in WIDTHS:
        layout = lay_out(drawn, width)
        heads = [fold(titles[c], w) for c, w in zip(layout.columns, layout.widths, strict=True)]
        assert max(head.count("\n") for head in heads) <= 1


def test_long_texts_stand_by_themselves_on_a_narrow_terminal(monkeypatch):
    records = [{"name": "one", "law": "so " * 40, "outcome": "", "message": "that " * 20}] * 2
    monkeypatch.setattr(terminal, "_PIPE_WIDTH", 70)
    lines = [
        line.rstrip() for line in shown(lambda: terminal.print_records("t", records)).split("\n")
    ]
    assert lines[:2] == ["t", "one"]
    assert lines[2].startswith("  law      so so")
    assert max(map(len, lines)) <= 70
    assert not any("outcome" in line for line in lines)


def assert_nothing_hidden(text):
    hidden = {c for c in text if unicodedata.category(c) in {"Cc", "Cs"} or c == "\u202e"}
    assert hidden <= {"\n"}


@pytest.mark.parametrize("name", HOSTILE)
def test_texts_of_others_are_shown_as_they_are_and_hide_nothing(name):
    named = table(name, ["Name", name], [(text_cell(name), text_cell(name))])
    calls = [
        lambda: terminal.print_table(named),
        lambda: terminal.print_table(named, width=60),
        lambda: saying.say(name),
        lambda: terminal.print_records("plugins", [{"name": name, "why": name}]),
        lambda: terminal.print_record({"name": name}),
    ]
    for call in calls:
        text = shown(call)
        assert_nothing_hidden(text)
        assert all(piece in text for piece in re.split(r"[^ -~]", name))
    printed = shown(lambda: saying.print_json({"name": name}))
    assert json.loads(printed) == {"name": name}
    assert_nothing_hidden(printed)


@pytest.fixture
def hostile_problem(make_problem):
    """Queries with hostile ids and texts, in a gallery of hostile ids."""
    dataset, stack = make_problem(n_queries=40, n_gallery=30)
    bad = [name for name in HOSTILE if name != "\ud800"]  # polars keeps UTF-8 only
    renamed = {id_: f"{bad[i % len(bad)]}{id_}" for i, id_ in enumerate(dataset.gallery_ids)}
    rows = dataset.queries.to_dicts()
    for i, row in enumerate(rows):
        row["query_id"] = row["text"] = f"{bad[i % len(bad)]}{i}"
        for column in ("references", "targets", "subset", "excluded"):
            row[column] = [renamed[id_] for id_ in row[column]]
    queries = pl.DataFrame(rows, schema=dataset.queries.schema)
    gallery_ids = tuple(renamed[id_] for id_ in dataset.gallery_ids)
    dataset = type(dataset)(
        protocol="[/toy]\x1b", gallery_ids=gallery_ids, queries=queries, metrics=("recall@1",)
    )
    matrices = dict(zip(stack.names, stack.matrices, strict=True))
    return dataset, type(stack).from_matrices(matrices, dataset)


def test_a_hostile_dataset_is_compared_inspected_and_shown(hostile_problem, tmp_path):
    dataset, stack = hostile_problem
    fusers = {"[/red]\u202emean": MeanFusion()}
    comparison = compare(stack, fusers, design=Folds(2), n_resamples=99)
    cases = collect_cases(stack, fusers, design=Folds(2))
    store = SimilarityStore.create(tmp_path / "store", dataset)
    for name, matrix in zip(stack.names, stack.matrices, strict=True):
        passport = {"source": "[/test]\x1b", "fingerprint": {"[a]": "\x1b[0m"}}
        with store.writer(name, passport=passport, block_rows=40) as writer:
            writer.write(0, matrix)
    (name,) = fusers
    calls = [
        lambda: summaries.print_comparison(comparison),
        lambda: summaries.print_inspection(inspect_store(store)),
        *(lambda i=i: terminal.print_table(hits_table(cases, i)) for i in range(8)),
        *(lambda i=i: terminal.print_table(reasons_table(cases, name, i)) for i in range(8)),
        lambda: terminal.print_table(list_table(cases, name, limit=20), width=80),
    ]
    for call in calls:
        text = shown(call)
        assert text.strip()
        assert_nothing_hidden(text)


def test_a_store_says_what_it_has_not(tmp_path, dataset):
    store = SimilarityStore.create(tmp_path / "store", dataset)
    text = shown(lambda: summaries.print_inspection(inspect_store(store, verify=True)))
    assert "no providers" in text
    assert "checksums: 0 damaged" in text


def test_no_line_of_a_table_ends_in_blanks():
    texts = [{"name": "a", "why": "short"}, {"name": "b", "why": "much longer"}]
    calls = [
        lambda: terminal.print_table(WIDE),
        lambda: terminal.print_records("t", texts),
        lambda: terminal.print_facts({"Why": ["one", "one that is longer"]}),
    ]
    for call in calls:
        lines = shown(call).split("\n")
        assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("text", ["", "[bold]runs/[/bold]", "x" * 300, "ein Weg: zwei "])
def test_what_no_terminal_shows_is_written_without_rich_as_rich_writes_it(
    text, monkeypatch, capsys
):
    saying.say(text, style="bold")
    plain = capsys.readouterr().out
    monkeypatch.setenv("TTY_COMPATIBLE", "0")  # rich is asked, and finds no terminal
    saying.say(text, style="bold")
    assert plain == capsys.readouterr().out == f"{text}\n"


def test_a_sentence_for_a_pipe_loads_no_rich():
    code = "import sys; from dafm_core.reporting.saying import say; say('x')"
    code += "; print('rich' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "x\nFalse\n"
