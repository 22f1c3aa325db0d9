"""Whatever ``dafm fuse`` writes, ``dafm import`` reads, with the same ranking."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import SimilarityError, StoreError
from dafm_core.formats.importing import import_scores
from dafm_core.formats.runs import write_run
from dafm_core.ground.files import sha256_of
from dafm_core.store.manifest import sealed
from dafm_core.store.store import SimilarityStore

IDS = st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=6, unique=True)
WORDS = st.lists(st.text("aé0./_-", min_size=1, max_size=5), min_size=2, max_size=6, unique=True)


def make_dataset(queries, gallery, n_excluded):
    rows = [
        {"query_id": q, "reference": gallery[0], "text": "t", "targets": [gallery[-1]]}
        | {"excluded": list(gallery[:n_excluded])}
        for q in queries
    ]
    return Dataset(protocol="p", gallery_ids=gallery, queries=query_frame(rows, where="f"))


@st.composite
def problems(draw, ids):
    queries, gallery = tuple(draw(ids)), tuple(draw(ids))
    shape = (len(queries), len(gallery))
    value = st.floats(-1e6, 1e6, width=32)
    scores = draw(arrays(np.float32, shape, elements=st.one_of(value, st.sampled_from([0, 1]))))
    dataset = make_dataset(queries, gallery, draw(st.integers(0, len(gallery) - 1)))
    scores[dataset.excluded.rows, dataset.excluded.values] = -np.inf
    ranked = [np.unique(row[row > -np.inf]) for row in scores]
    assume(max(map(len, ranked)) > 1)  # else the file's ranks say more than its scores
    return dataset, scores


def back(folder, dataset, scores, suffix, depth=100):
    """Write a fused run and import it; return what a stack says of it."""
    path = write_run(
        folder / f"fused{suffix}",
        [(dataset.query_ids, scores)],
        query_ids=dataset.query_ids,
        gallery_ids=dataset.gallery_ids,
        depth=depth,
    )
    store = SimilarityStore.create(folder / "store", dataset)
    import_scores(store, "m", path)
    return store.stack().tile(0, dataset.n_queries)[:, 0]


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".trec"])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_all_scores_come_back_as_they_were(suffix, data):
    dataset, scores = data.draw(problems(IDS if suffix == ".parquet" else WORDS))
    with tempfile.TemporaryDirectory() as folder:
        assert_array_equal(back(Path(folder), dataset, scores, suffix), scores)


@pytest.mark.parametrize("suffix", [".parquet", ".trec"])
@given(data=st.data(), depth=st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_a_short_list_keeps_what_it_lists(suffix, data, depth):
    dataset, scores = data.draw(problems(WORDS))
    tops = [np.sort(row[row > -np.inf])[::-1][:depth] for row in scores]
    assume(depth == 1 or max(len(np.unique(top)) for top in tops) > 1)
    with tempfile.TemporaryDirectory() as folder:
        rows = back(Path(folder), dataset, scores, suffix, depth)
    for row, whole, top in zip(rows, scores, tops, strict=True):
        listed = row[np.isfinite(row)]  # NaN where a list leaves a candidate out
        assert_array_equal(np.sort(listed)[::-1][: len(top)], top)
        assert_array_equal(np.isneginf(row), np.isneginf(whole))


def test_a_query_without_candidates_has_no_list(tmp_path):
    row = {"query_id": "q0", "reference": "a", "text": "t", "excluded": ["a", "b"]}
    queries = query_frame([row, row | {"query_id": "q1", "excluded": ["a"]}], where="f")
    dataset = Dataset(protocol="p", gallery_ids=("a", "b"), queries=queries)
    scores = np.array([[-np.inf, -np.inf], [-np.inf, 2]], np.float32)
    for suffix in (".parquet", ".npy"):
        (tmp_path / suffix).mkdir()
        assert_array_equal(back(tmp_path / suffix, dataset, scores, suffix), scores)


@pytest.fixture
def dataset():
    return make_dataset(("q0", "q1"), ("a", "b", "c"), 1)


@pytest.fixture
def store(tmp_path, dataset):
    return SimilarityStore.create(tmp_path / "store", dataset)


SCORES = np.array([[-np.inf, 1, 2], [-np.inf, 4, 3]], np.float32)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_matrix_with_the_reference_masked(tmp_path, store, sign):
    np.save(tmp_path / "m.npy", sign * SCORES)
    direction = "similarity" if sign > 0 else "distance"
    import_scores(store, "m", tmp_path / "m.npy", direction=direction)
    assert_array_equal(store.scores("m"), SCORES)
    assert store.verify("m") == []
    assert store.passport("m")["tied_share"] == 0


def test_a_table_with_the_reference_masked(tmp_path, store):
    content = {
        q: dict(zip("abc", map(float, row), strict=True))
        for q, row in zip(("q0", "q1"), SCORES, strict=True)
    }
    (tmp_path / "m.json").write_text(json.dumps(content))
    import_scores(store, "m", tmp_path / "m.json")
    assert_array_equal(store.scores("m")[:, 1:], SCORES[:, 1:])


@pytest.mark.parametrize(
    ("row", "column", "value"), [(0, 1, -np.inf), (1, 0, np.inf), (1, 0, np.nan), (1, 2, np.inf)]
)
def test_no_other_cell_may_be_infinite(tmp_path, store, row, column, value):
    scores = SCORES.copy()
    scores[row, column] = value
    np.save(tmp_path / "m.npy", scores)
    with pytest.raises(SimilarityError, match="Only images that p excludes may have -inf"):
        import_scores(store, "m", tmp_path / "m.npy")
    with (
        pytest.raises(SimilarityError, match="expected finite"),
        store.writer("m", passport={}) as writer,
    ):
        writer.write(0, scores)
    assert store.providers == ()


def test_a_list_beside_a_matrix_counts_less_than_one_that_is_given(tmp_path, store, dataset):
    path = write_run(
        tmp_path / "m.npy",
        [(("q1", "q0"), SCORES[::-1])],
        query_ids=("q1", "q0"),
        gallery_ids=dataset.gallery_ids,
    )
    import_scores(store, "m", path)
    assert_array_equal(store.scores("m"), SCORES)
    (tmp_path / "ids.txt").write_text("q0\nq1\n")
    with pytest.raises(StoreError, match="is there, and differs in sources"):
        import_scores(store, "m", path, query_ids=tmp_path / "ids.txt")
    import_scores(store, "m", path, query_ids=tmp_path / "ids.txt", overwrite=True)
    assert_array_equal(store.scores("m"), SCORES[::-1])


def test_an_import_that_would_change_a_stored_matrix_says_so(tmp_path, store):
    np.save(tmp_path / "m.npy", SCORES)
    lists = tmp_path / "ids.txt"
    lists.write_text("a\nb\nc\n")
    first = import_scores(store, "m", tmp_path / "m.npy")
    again = import_scores(store, "m", tmp_path / "m.npy")
    assert (first.written, again.written) == (True, False)
    with pytest.raises(
        StoreError, match=r"differs in sources\. Store this one under --provider NAME"
    ):
        import_scores(store, "m", tmp_path / "m.npy", gallery_ids=lists)
    assert_array_equal(store.scores("m"), SCORES)


def test_a_passport_that_is_equal_does_not_hide_other_scores(tmp_path, store):
    """Whatever an import depends on and the passport does not name, scores are compared."""
    np.save(tmp_path / "m.npy", SCORES[:, [0, 2, 1]])
    import_scores(store, "m", tmp_path / "m.npy")
    passport = store.passport("m")
    np.save(tmp_path / "m.npy", SCORES)
    passport["sources"]["scores"]["sha256"] = sha256_of(tmp_path / "m.npy")
    (store.path / "m" / "passport.json").write_text(json.dumps(sealed(passport)))
    with pytest.raises(StoreError, match=r"with other scores, e\.g\. of query 'q0': nothing was"):
        import_scores(store, "m", tmp_path / "m.npy")


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_scores_that_float32_cannot_tell_apart_are_refused(tmp_path, store, dtype):
    base = np.array([[0, 1, 2], [0, 5, 4]])
    scores = base + 2**40 if dtype == np.int64 else 1 + base * 1e-12
    np.save(tmp_path / "m.npy", scores.astype(dtype))
    with pytest.raises(
        SimilarityError, match="expected scores that float32 tells apart, got 4 of 6"
    ):
        import_scores(store, "m", tmp_path / "m.npy")
    cells = [(f"q{i}", "abc"[j], scores[i, j].item()) for i in range(2) for j in range(3)]
    lines = [f"{query} Q0 {image} 1 {score!r} me" for query, image, score in cells]
    (tmp_path / "m.trec").write_text("\n".join(lines))
    with pytest.raises(SimilarityError, match="got 4 of 6"):
        import_scores(store, "m", tmp_path / "m.trec")
    assert store.providers == ()


def test_a_few_are_reported(tmp_path):
    gallery = tuple(f"g{i}" for i in range(300))
    store = SimilarityStore.create(tmp_path / "wide", make_dataset(("q0",), gallery, 0))
    scores = np.arange(300.0)[None]
    scores[0, 7] = 8 - 1e-12
    np.save(tmp_path / "m.npy", scores)
    result = import_scores(store, "m", tmp_path / "m.npy")
    assert result.n_collapsed == 1
    assert result.notes() == ["1 scores that differ in the file are equal as stored, and tie"]
    exact = import_scores(store, "n", tmp_path / "m.npy", dtype="float16")
    assert exact.n_collapsed == 1
