import json

import polars as pl
import pytest

from dafm_core.datasets import folder
from dafm_core.errors import DatasetError

ROWS = [
    {"query_id": "q0", "reference": "a", "text": 'with, "quotes" | ü', "targets": ["shoes/b", "c"]},
    {"query_id": "q1", "reference": "c", "text": "x", "subset": ["a", "c"], "excluded": ["c"]},
]
FILLED_IN = {
    **{name: [] for name in ("targets", "subset", "excluded", "tags", "negatives")},
    **dict.fromkeys(("grades", "candidates")),
}
"""What a query has in the columns that a table leaves out."""


def without_reference(row):
    return {name: value for name, value in row.items() if name != "reference"}


def images(path, names):
    for name in names:
        (path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (path / "images" / name).touch()


def write_jsonl(path, rows):
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (path / "queries.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")


def write_csv(path, rows):
    lists = ("targets", "subset", "excluded")
    flat = [
        {**row, **{c: "|".join(row.get(c, [])) for c in lists}, "group": row.get("group", "")}
        for row in rows
    ]
    pl.DataFrame(flat).write_csv(path / "queries.csv")


def write_json(path, rows):
    (path / "queries.json").write_text(json.dumps(rows), encoding="utf-8")


def write_parquet(path, rows):
    pl.DataFrame(rows).write_parquet(path / "queries.parquet")


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "My Shop"
    images(path, ["a.png", "shoes/b.JPG", "c.webp", ".hidden.png", "notes.txt"])
    return path


@pytest.mark.parametrize("write", [write_jsonl, write_json, write_csv, write_parquet])
def test_every_table_reads_the_same(own, write):
    write(own, ROWS)
    dataset = folder.load(own)
    assert dataset.protocol == "folder-my-shop"
    assert dataset.gallery_ids == ("a", "c", "shoes/b")
    assert dataset.images["shoes/b"] == own / "images" / "shoes" / "b.JPG"
    assert dataset.queries.rows(named=True) == [
        {**FILLED_IN, "references": ["a"], "group": "q0", **without_reference(ROWS[0])},
        {**FILLED_IN, "references": ["c"], "group": "q1", **without_reference(ROWS[1])},
    ]
    assert dataset.metrics == (
        *("recall@1", "recall@5", "recall@10", "recall@50"),
        *("rsubset@1", "rsubset@2", "rsubset@3"),
        *("map@5", "map@10", "map@50"),
    )


def test_ids_are_written_with_extension_where_ambiguous(own):
    images(own, ["a.jpg"])
    write_jsonl(own, [{"query_id": "q", "reference": "a.jpg", "text": "t", "targets": ["c.webp"]}])
    dataset = folder.load(own)
    assert dataset.gallery_ids == ("a.jpg", "a.png", "c", "shoes/b")
    assert dataset.queries["references"].to_list() == [["a.jpg"]]
    assert dataset.queries["targets"].to_list() == [["c"]]
    assert dataset.problems() == []


def test_gallery_file_fixes_membership_and_order(own):
    write_jsonl(own, ROWS)
    (own / "gallery.txt").write_text("shoes/b.JPG\n\n absent \na\n")
    dataset = folder.load(own)
    assert dataset.gallery_ids == ("shoes/b", "absent", "a")
    assert dataset.image("c").path == own / "images" / "c.webp"
    assert dataset.image("absent").path is None
    assert any("'c'" in line or ": c" in line for line in dataset.problems())


def test_images_are_not_needed_where_the_gallery_is_listed(tmp_path):
    write_jsonl(tmp_path, ROWS)
    (tmp_path / "gallery.txt").write_text("a\nc\n")
    assert folder.load(tmp_path).images == {}


def test_groups_and_other_columns(own):
    write_csv(
        own,
        [
            {**ROWS[0], "group": "g", "annotator": "me"},
            {**ROWS[1], "group": "", "annotator": "you"},
        ],
    )
    assert folder.load(own).groups.tolist() == ["g", "q1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": 1, "text": "t"}', "query 0: expected a field 'query_id', got id, text. Add it."),
        ('{"query_id": "q", "text": null}', "query 0: expected text in 'text', got None"),
        ('{"query_id": "q", "text": "t"}', "query 0: expected text in 'reference', got None"),
        ('{"query_id": 3.5, "reference": "a", "text": "t"}', "text in 'query_id', got 3.5"),
        (
            '{"query_id": "q", "reference": "a", "text": "t", "target": ["c"]}',
            "did you mean 'targets'",
        ),
        ('{"query_id": "q", "reference": "a", "text": "t", "targets": "c"}', "'targets' must list"),
        (
            '{"query_id": "q", "reference": "a", "text": "t", "targets": [1.5]}',
            "'targets' must list",
        ),
        ('{"query_id": "q", "reference": "a", "text": "t", "tags": 3}', "'tags' must list"),
        ('{"query_id": "q", "reference": "a", "text": "t", "subset": 0}', "'subset' must list"),
        ('{"query_id": "q", "text": "t", "references": 7}', "'references' must list texts, got 7"),
        (
            '{"query_id": "q", "text": "t", "references": [], "candidates": true}',
            "'candidates' must list texts",
        ),
        ('{"query_id": "q", "query_id": "p", "text": "t"}', "key 'query_id' stands twice"),
        ("\n\n", r"queries\.jsonl: expected queries, got none"),
        ('{"query_id": "q", "reference": "a", "text"', "one JSON object a line"),
        ("[1]", "line 1: expected a JSON object, got a list. Write one query a line, or call"),
        ('{"query_id": "q", "text": "t", "references": "a"}', r"got 'a'. Write \['a'\]"),
        ('{"query_id": "q", "reference": "a", "text": "t"}\n' * 2, "'q' stands twice"),
    ],
)
def test_bad_jsonl(own, text, message):
    (own / "queries.jsonl").write_text(text)
    with pytest.raises(DatasetError, match=message) as error:
        folder.load(own)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query_id,reference\nq,a\n", "a field 'text', got query_id, reference. Add it."),
        ("query_id,reference,text\nq,a\n", "as many cells as columns"),
        ("query_id,reference,text\nq,a,t,more\n", "as many cells as columns"),
        ("query_id,reference,text\nq,a,\xff\n", "expected a CSV table"),
        ('query_id,reference,text\nq,a,"open', "expected a CSV table"),
        ("query_id,reference,text,text\nq,a,t,u\n", "'text' stands twice"),
        ("query_id,reference,text\n", "expected queries, got none"),
    ],
)
def test_bad_csv(own, text, message):
    (own / "queries.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=message):
        folder.load(own)


def test_tags_of_a_csv_are_lists(own):
    (own / "queries.csv").write_text("query_id,reference,text,tags\nq,a,t,x|y\np,a,t,\n")
    assert folder.load(own).queries["tags"].to_list() == [["x", "y"], []]


def test_bad_folders(own, tmp_path):
    with pytest.raises(DatasetError, match=r"expected one of queries\.jsonl, .* got none"):
        folder.load(own)
    write_jsonl(own, ROWS)
    with pytest.raises(DatasetError, match="no splits, got split 'val'"):
        folder.load(own, split="val")
    write_csv(own, ROWS)
    with pytest.raises(DatasetError, match=r"got queries\.jsonl and queries\.csv"):
        folder.load(own)
    with pytest.raises(DatasetError, match="no such folder"):
        folder.load(tmp_path / "nowhere")
    (own / "queries.jsonl").unlink()
    (own / "queries.csv").unlink()
    (own / "queries.parquet").write_text("not parquet")
    with pytest.raises(DatasetError, match="expected a parquet table"):
        folder.load(own)


def test_bad_galleries(tmp_path):
    write_jsonl(tmp_path, ROWS)
    with pytest.raises(DatasetError, match=r"images/ or gallery\.txt, got neither"):
        folder.load(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DatasetError, match="gallery is empty"):
        folder.load(tmp_path)
    (tmp_path / "gallery.txt").write_text("a\na\n")
    with pytest.raises(DatasetError, match="'a' stands twice"):
        folder.load(tmp_path)
    (tmp_path / "gallery.txt").write_bytes(b"\xff\n")
    with pytest.raises(DatasetError, match="expected a text file of ids, one a line"):
        folder.load(tmp_path)


NUMBERS = [
    {"query_id": "none", "references": [], "text": "a red shoe", "targets": ["c"]},
    {"query_id": "one", "references": ["a.png"], "text": "in red", "targets": ["shoes/b"]},
    {"query_id": "two", "references": ["shoes/b.JPG", "c"], "text": "both", "targets": ["a"]},
]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_query_has_any_number_of_references(own, suffix):
    table = own / f"queries.{suffix}"
    if suffix == "jsonl":
        write_jsonl(own, NUMBERS)
    elif suffix == "csv":
        lines = ["query_id,references,text,targets"]
        lines += ["none,,a red shoe,c", "one,a.png,in red,shoes/b", "two,shoes/b.JPG|c,both,a"]
        table.write_text("\n".join(lines))
    else:
        pl.DataFrame(NUMBERS).write_parquet(table)
    dataset = folder.load(own)
    assert dataset.queries["references"].to_list() == [[], ["a"], ["shoes/b", "c"]]
    assert dataset.queries["targets"].to_list() == [["c"], ["shoes/b"], ["a"]]
    references = [[image.id for image in q.references] for q in dataset.iter_queries()]
    assert references == [[], ["a"], ["shoes/b", "c"]]
    assert dataset.problems() == []


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_targets_may_have_grades(own, suffix):
    rows = [
        {
            "query_id": "q0",
            "reference": "a",
            "text": "t",
            "targets": ["a", "c"],
            "grades": [2, 0.5],
        },
        {"query_id": "q1", "reference": "a", "text": "t", "targets": ["c"], "grades": None},
    ]
    if suffix == "jsonl":
        write_jsonl(own, rows)
    elif suffix == "csv":
        text = "query_id,reference,text,targets,grades\nq0,a,t,a|c,2|0.5\nq1,a,t,c,\n"
        (own / "queries.csv").write_text(text)
    else:
        pl.DataFrame(rows, strict=False).write_parquet(own / "queries.parquet")
    dataset = folder.load(own)
    assert dataset.queries["grades"].to_list() == [[2.0, 0.5], None]
    assert dataset.metrics[-3:] == ("ndcg@5", "ndcg@10", "ndcg@50")


@pytest.mark.parametrize("name", ["a[1]b", "x*y", "what?"])
def test_a_path_may_hold_what_a_shell_would_expand(tmp_path, name):
    own = tmp_path / name
    images(own, ["a.png"])
    row = {"query_id": "q", "reference": "a", "text": "t", "targets": ["a"]}
    write_parquet(own, [row])
    assert folder.load(own).query_ids == ("q",)


def test_whole_numbers_are_ids(tmp_path):
    images(tmp_path, ["1.png", "2.png", "x.png"])
    write_json(tmp_path, [{"query_id": 0, "reference": 1, "text": "t", "targets": [2, "x.png"]}])
    row = folder.load(tmp_path).queries.row(0, named=True)
    assert (row["query_id"], row["references"], row["targets"]) == ("0", ["1"], ["2", "x"])
    write_json(tmp_path, [{"query_id": True, "reference": 1, "text": "t"}])
    with pytest.raises(DatasetError, match="expected text in 'query_id', got True"):
        folder.load(tmp_path)


def test_references_leave_the_ranking_on_request(own):
    rows = [*ROWS, {"query_id": "q2", "references": ["a", "gone"], "text": "t"}]
    rows = [{**row, "references": row.get("references", [row.get("reference")])} for row in rows]
    write_json(own, rows)
    dataset = folder.load(own, reference="exclude")
    assert dataset.protocol == "folder-my-shop-exclude"
    assert dataset.queries["excluded"].to_list() == [["a"], ["c"], ["a"]]
    assert folder.load(own).queries["excluded"].to_list() == [[], ["c"], []]


def test_a_table_from_a_spreadsheet(own):
    (own / "queries.csv").write_text(
        "query_id,reference,text,targets\nq0,images/a.png,t,images/shoes/b.JPG|c\nq1,,u,c\n"
    )
    queries = folder.load(own).queries
    assert queries["references"].to_list() == [["a"], []]
    assert queries["targets"].to_list() == [["shoes/b", "c"], ["c"]]
    for mark in ";\t":
        (own / "queries.csv").write_text(mark.join(("query_id", "reference", "text")) + "\n")
        with pytest.raises(DatasetError, match="expected columns separated by commas"):
            folder.load(own)
