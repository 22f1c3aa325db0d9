"""Every format that can be imported: one table, and what other tools write is read back."""

import gzip
import json
import warnings

import numpy as np
import polars as pl
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.torch import save_file

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import DafmError, OptionError, SimilarityError
from dafm_core.formats.content import Matrix, RankedLists, Request
from dafm_core.formats.importing import import_features, import_scores
from dafm_core.formats.readers import READERS, read
from dafm_core.store.store import SimilarityStore

QUERIES, GALLERY = ("q0", "q1"), ("a", "b", "c", "d")
SCORES = np.array([[0.5, 2.0, -1.0, 0.25], [3.0, -2.0, 0.125, 1.0]], np.float32)
CELLS = [
    (query, image, float(SCORES[i, j]))
    for i, query in enumerate(QUERIES)
    for j, image in enumerate(GALLERY)
]


@pytest.fixture
def store(tmp_path):
    rows = [{"query_id": q, "reference": "a", "text": "t", "targets": ["b"]} for q in QUERIES]
    dataset = Dataset(protocol="p", gallery_ids=GALLERY, queries=query_frame(rows, where="f"))
    return SimilarityStore.create(tmp_path / "store", dataset)


def check(store, path, **options):
    """Assert that a file gives exactly the scores above."""
    import_scores(store, "m", path, overwrite=True, **options)
    assert_array_equal(store.scores("m"), SCORES)


def nested():
    return {q: {i: s for query, i, s in CELLS if query == q} for q in QUERIES}


def long(*names):
    return pl.DataFrame(CELLS, schema=list(names), orient="row")


def wide(index):
    """Return a column per image, and what pandas makes of an index of queries."""
    frame = pl.DataFrame(SCORES, schema=list(GALLERY), orient="row")
    return frame.with_columns(pl.Series(index, QUERIES))


def trec():
    lines = []
    for query in QUERIES:
        best = sorted((c for c in CELLS if c[0] == query), key=lambda c: -c[2])
        lines += [f"{q} Q0 {i} {rank} {s!r} me" for rank, (q, i, s) in enumerate(best, 1)]
    return "\n".join(lines)


def text(content):
    return lambda path: path.write_bytes(
        gzip.compress(content().encode()) if path.suffix == ".gz" else content().encode()
    )


def csv(separator, header=True):
    def content():
        lines = [separator.join(map(str, cell)) for cell in CELLS]
        head = [separator.join(("query", "candidate", "score"))] if header else []
        return "\n".join(head + lines)

    return text(content)


FILES = {
    "nested.json": text(lambda: json.dumps(nested())),
    "nested.json.gz": text(lambda: json.dumps(nested())),
    "bom.json": text(lambda: "\ufeff" + json.dumps(nested())),
    "one-task.json": text(lambda: json.dumps({"meta": 1, "default": {"test": nested()}})),
    "pairs.json": text(
        lambda: json.dumps({q: [*map(list, n.items())] for q, n in nested().items()})
    ),
    "records.json": text(
        lambda: json.dumps(
            [dict(zip(("query_id", "image_id", "score"), c, strict=True)) for c in CELLS]
        )
    ),
    "ranx.parquet": lambda p: long("q_id", "doc_id", "score").write_parquet(p),
    "pyterrier.parquet": lambda p: long("qid", "docno", "score").write_parquet(p),
    "ranked.parquet": lambda p: (
        long("query_id", "image_id", "score")
        .with_columns(rank=pl.col("score").rank(descending=True).over("query_id"))
        .write_parquet(p)
    ),
    "numbered.parquet": lambda p: (
        long("query_id", "image_id", "score").with_row_index("rank").write_parquet(p)
    ),
    "tagged.parquet": lambda p: (
        long("query_id", "image_id", "score")
        .with_columns(run=pl.lit("me"), __index_level_0__=pl.lit(7))
        .write_parquet(p)
    ),
    "category.parquet": lambda p: (
        long("query_id", "image_id", "score")
        .with_columns(pl.col("query_id", "image_id").cast(pl.Categorical))
        .write_parquet(p)
    ),
    "wide.parquet": lambda p: wide("query_id").write_parquet(p),
    "wide-index.parquet": lambda p: wide("__index_level_0__").write_parquet(p),
    "two-indices.parquet": lambda p: (
        wide("query_id").with_row_index("__index_level_0__").write_parquet(p)
    ),
    "long.csv": csv(","),
    "long.tsv": csv("\t"),
    "semicolon.csv": csv(";"),
    "bare.csv": csv(",", header=False),
    "long.csv.gz": csv(","),
    "pandas.csv": lambda p: long("query_id", "image_id", "score").with_row_index("").write_csv(p),
    "wide-pandas.csv": lambda p: wide("").select("", *GALLERY).write_csv(p),
    "run.trec": text(trec),
    "run.trec.gz": text(trec),
    "run.run.gz": text(trec),
    "run.txt.gz": text(trec),
}


@pytest.mark.parametrize(("name", "write"), FILES.items(), ids=FILES)
def test_what_other_tools_write(tmp_path, store, name, write):
    write(tmp_path / name)
    check(store, tmp_path / name)


def test_every_suffix_reads_nothing_as_an_error_of_one_line(tmp_path):
    for suffix in READERS:
        path = tmp_path / f"m{suffix}"
        path.write_bytes(b"")
        with pytest.raises(DafmError) as raised:
            read(path, Request())
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_one_of_several_objects_or_columns_by_key(tmp_path, store):
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"a": {"x": {"y": 1.0}}, "b": {"test": nested()}}))
    with pytest.raises(OptionError, match=r"several such objects: a, b\. Name one with --key"):
        read(path, Request())
    check(store, path, key="b.test")
    with pytest.raises(OptionError, match="no object 'c'"):
        read(path, Request(key="c"))
    frame = long("query_id", "image_id", "cosine").with_columns(bm25=pl.lit(1.0))
    frame.write_parquet(tmp_path / "m.parquet")
    with pytest.raises(SimilarityError, match="expected a column 'score' or 'rank'"):
        read(tmp_path / "m.parquet", Request())
    check(store, tmp_path / "m.parquet", key="cosine")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("m.json", '{"q0": {"a": "high"}}', "expected a number, got 'high'"),
        ("m.json", '{"q0": {"a": 1, "a": 2}}', "stands twice"),
        ("m.csv", "query,candidate,score\nq0,a,high\n", "cannot be read"),
        ("m.csv", "query,candidate,score\nq0,,1\n", "1 lines lack a query or an image"),
        ("m.csv", "one,two\n1,2\n", "expected a column 'query_id'"),
        ("m.csv", "query,candidate,score\rq0,a,1\rq0,b,2\r", "Save it with other line ends"),
        ("m.csv", "query,candidate," + "s" * 200_000 + "\nq0,a,1\n", "field limit"),
        ("m.csv", "query_id,a,b\nq0,1,x\n", "cannot be read"),
        ("m.trec.gz", "no gzip", "cannot be read"),
        ("m.npy.gz", "", "no format '.npy.gz'"),
    ],
)
def test_malformed_files_are_named(tmp_path, file, content, message):
    (tmp_path / file).write_text(content)
    with pytest.raises(DafmError, match=message) as raised:
        read(tmp_path / file, Request())
    assert file in str(raised.value)


def test_the_two_results(tmp_path):
    np.save(tmp_path / "m.npy", SCORES)
    (tmp_path / "m.trec").write_text(trec())
    assert isinstance(read(tmp_path / "m.npy", Request()), Matrix)
    assert isinstance(read(tmp_path / "m.trec", Request()), RankedLists)


TENSORS = {
    "sparse": lambda t: t.to_sparse(),
    "sparse-csr": lambda t: t.to_sparse_csr(),
    "bfloat16": lambda t: t.bfloat16(),
    "float16": lambda t: t.half(),
    "float8-e5m2": lambda t: t.to(torch.float8_e5m2),
    "float8-e4m3": lambda t: t.to(torch.float8_e4m3fn),
    "quantised": lambda t: torch.quantize_per_tensor(t, 0.125, 0, torch.qint8),
    "parameter": torch.nn.Parameter,
    "negated": lambda t: torch._neg_view(-t),
    "transposed": lambda t: t.T.contiguous().T,
}


@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
@pytest.mark.filterwarnings("ignore")
def test_tensors_of_any_kind(tmp_path, store, change):
    torch.save({"scores": change(torch.from_numpy(SCORES))}, tmp_path / "m.pt")
    check(store, tmp_path / "m.pt")


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e5m2, torch.float8_e4m3fn]
)
def test_safetensors_of_any_kind(tmp_path, store, dtype):
    odd = {"other": torch.zeros(2, 4, dtype=torch.bool)}
    save_file({"scores": torch.from_numpy(SCORES).to(dtype), **odd}, tmp_path / "m.safetensors")
    check(store, tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(2, 4, device="meta"), "meta device"),
        (torch.zeros(2, 4, dtype=torch.complex64).conj(), "complex numbers"),
        (torch.zeros(2, 4, dtype=torch.bool), "two-dimensional array of numbers"),
        ({}, "got nothing"),
        ("text", "got nothing"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_without_real_numbers_are_one_line(tmp_path, value, message):
    torch.save(value, tmp_path / "m.pt")
    with pytest.raises(SimilarityError, match=message) as raised:
        read(tmp_path / "m.pt", Request())
    assert "\n" not in str(raised.value)


def test_a_nested_tensor_is_one_line(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(torch.nested.nested_tensor([torch.zeros(2), torch.zeros(4)]), tmp_path / "m.pt")
    with pytest.raises(SimilarityError, match="nested tensor"):
        read(tmp_path / "m.pt", Request())


class Model:
    """Nothing that may be read."""


def test_an_odd_member_spoils_nothing_that_is_not_asked_for(tmp_path, store):
    odd = np.array([Model()], dtype=object)
    np.savez(tmp_path / "m.npz", scores=SCORES, model=odd)
    check(store, tmp_path / "m.npz", key="scores")
    check(store, tmp_path / "m.npz")
    with pytest.raises(SimilarityError, match=r"'model' cannot be read \(it holds Python objects"):
        read(tmp_path / "m.npz", Request(key="model"))
    np.savez(tmp_path / "m.npz", scores=SCORES, query_ids=np.array([Model()] * 2, dtype=object))
    with pytest.raises(SimilarityError, match=r"'query_ids' cannot be read.*--ignore query_ids"):
        read(tmp_path / "m.npz", Request(key="scores"))
    check(store, tmp_path / "m.npz", ignore=["query_ids"])


def test_a_dictionary_in_an_npy_file(tmp_path, store):
    content = {"scores": SCORES[::-1].copy(), "queries": list(QUERIES[::-1])}
    np.save(tmp_path / "m.npy", content, allow_pickle=True)
    check(store, tmp_path / "m.npy")


def test_a_torch_file_under_a_wrong_name(tmp_path):
    torch.save(torch.from_numpy(SCORES), tmp_path / "m.safetensors")
    with pytest.raises(SimilarityError, match=r"a \.pt or \.npz archive by its content; rename it"):
        read(tmp_path / "m.safetensors", Request())


def test_a_tuple_of_features_and_names(tmp_path, store):
    vectors = torch.from_numpy(SCORES.T.copy())  # (4, 2)
    names = ["other", *reversed(GALLERY)]
    torch.save((torch.vstack([torch.ones(1, 2), vectors.flip(0)]), names), tmp_path / "g.pt")
    np.save(tmp_path / "q.npy", np.eye(2, dtype=np.float32))
    result = import_features(store, "m", tmp_path / "q.npy", tmp_path / "g.pt", measure="dot")
    assert_array_equal(store.scores("m"), SCORES)
    assert result.n_images_left_out == 1


def test_the_hint_names_the_option_of_the_file(tmp_path, store):
    np.save(tmp_path / "q.npy", np.eye(2, dtype=np.float32))
    np.savez(tmp_path / "g.npz", one=np.ones((4, 2)), two=np.ones((4, 2)))
    with pytest.raises(OptionError, match=r"got one, two\. Name one with --gallery-key"):
        import_features(store, "m", tmp_path / "q.npy", tmp_path / "g.npz")
