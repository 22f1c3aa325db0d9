import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import save_file

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import (
    AlignmentError,
    DafmError,
    DatasetError,
    OptionError,
    ProviderError,
    SimilarityError,
    StoreError,
    SubmissionError,
)
from dafm_core.evaluation.evaluate import evaluate
from dafm_core.formats.importing import import_features, import_scores
from dafm_core.scoring.neighbours import nearest_neighbours
from dafm_core.store.store import SimilarityStore

N_QUERIES, N_GALLERY = 7, 12


@pytest.fixture
def dataset():
    rows = [
        {"query_id": f"q{i}", "reference": "g0", "text": "t", "targets": [f"g{i + 1}"]}
        for i in range(N_QUERIES)
    ]
    gallery = tuple(f"g{i}" for i in range(N_GALLERY))
    return Dataset(protocol="p", gallery_ids=gallery, queries=query_frame(rows, where="f"))


@pytest.fixture
def store(tmp_path, dataset):
    return SimilarityStore.create(tmp_path / "store", dataset)


@pytest.fixture
def scores(rng):
    return rng.normal(size=(N_QUERIES, N_GALLERY)).astype(np.float32)


def contents(store):
    files = (path for path in store.path.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if not path.name.endswith(".lock")}


def save(path, array, query_ids=None, gallery_ids=None, name="scores"):
    """Write an array in the format of the path's suffix, with ids where given."""
    ids = {"query_ids": query_ids, "gallery_ids": gallery_ids}
    ids = {key: list(value) for key, value in ids.items() if value is not None}
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, **{name: array}, **{key: np.array(value) for key, value in ids.items()})
    elif path.suffix == ".pt":
        torch.save({name: torch.from_numpy(array), **ids} if ids else torch.from_numpy(array), path)
    elif path.suffix == ".safetensors":
        save_file({name: array}, path, {key: json.dumps(value) for key, value in ids.items()})
    else:
        wide = pl.DataFrame(array, schema=list(gallery_ids), orient="row")
        wide.insert_column(0, pl.Series("query_id", list(query_ids))).write_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors"])
def test_a_matrix_in_the_stores_order(tmp_path, store, scores, suffix):
    import_scores(store, "ccin", save(tmp_path / f"m{suffix}", scores))
    assert_array_equal(store.scores("ccin"), scores)
    assert store.verify("ccin") == []
    assert store.stack().names == ("ccin",)


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors", ".parquet"])
def test_a_matrix_with_ids_is_aligned_by_them(tmp_path, store, dataset, scores, rng, suffix):
    rows, columns = rng.permutation(N_QUERIES), rng.permutation(N_GALLERY)
    path = save(
        tmp_path / f"m{suffix}",
        np.ascontiguousarray(scores[np.ix_(rows, columns)]),
        np.array(dataset.query_ids)[rows].tolist(),
        np.array(dataset.gallery_ids)[columns].tolist(),
    )
    import_scores(store, "ccin", path)
    assert_array_equal(store.scores("ccin"), scores)


def test_id_lists_reorder_a_matrix_without_ids(tmp_path, store, dataset, scores, rng):
    rows, columns = rng.permutation(N_QUERIES), rng.permutation(N_GALLERY)
    path = save(tmp_path / "m.npy", scores[np.ix_(rows, columns)])
    lists = {"query_ids": (dataset.query_ids, rows), "gallery_ids": (dataset.gallery_ids, columns)}
    files = {}
    for name, (ids, order) in lists.items():
        files[name] = tmp_path / f"{name}.txt"
        files[name].write_text("\n".join(ids[i] for i in order) + "\n")
    import_scores(store, "ccin", path, **files)
    assert_array_equal(store.scores("ccin"), scores)


def test_many_blocks_give_what_one_gives(tmp_path, rng):
    rows = [{"query_id": f"q{i}", "reference": "a", "text": "t"} for i in range(600)]
    dataset = Dataset(protocol="p", gallery_ids=("a", "b"), queries=query_frame(rows, where="f"))
    store = SimilarityStore.create(tmp_path / "store", dataset)
    scores = rng.normal(size=(600, 2))
    import_scores(store, "m", save(tmp_path / "m.npy", scores))
    assert_array_equal(store.scores("m"), scores.astype(np.float32))
    assert len(store.passport("m")["blocks"]) == 3


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8])
def test_distances_are_negated_whatever_their_type(tmp_path, store, rng, dtype):
    distances = (rng.random(size=(N_QUERIES, N_GALLERY)) * 100).astype(dtype)
    import_scores(store, "m", save(tmp_path / "m.npy", distances), direction="distance")
    assert_allclose(store.scores("m"), -distances.astype(np.float64), rtol=1e-6)
    assert store.passport("m")["options"]["direction"] == "distance"
    assert store.passport("m")["direction"] == "similarity"


def test_a_bfloat16_tensor(tmp_path, store, scores):
    tensor = torch.from_numpy(scores).bfloat16()
    torch.save(tensor, tmp_path / "m.pt")
    import_scores(store, "m", tmp_path / "m.pt")
    assert_array_equal(store.scores("m"), tensor.float().numpy())


def test_float16_on_request(tmp_path, store, scores):
    import_scores(store, "m", save(tmp_path / "m.npy", scores), dtype="float16")
    assert store.scores("m").dtype == np.float16


def test_one_of_several_arrays_by_key(tmp_path, store, scores):
    np.savez(tmp_path / "m.npz", one=scores, other=-scores)
    with pytest.raises(OptionError, match="expected one array, got one, other"):
        import_scores(store, "m", tmp_path / "m.npz")
    with pytest.raises(OptionError, match="no array 'othr'; did you mean 'other'"):
        import_scores(store, "m", tmp_path / "m.npz", key="othr")
    import_scores(store, "m", tmp_path / "m.npz", key="other")
    assert_array_equal(store.scores("m"), -scores)


def test_the_passport_says_where_scores_come_from(tmp_path, store, scores):
    path = save(tmp_path / "m.npy", scores)
    facts = {"model": "CCIN", "checkpoint_sha256": "ab"}
    import_scores(store, "ccin", path, facts=facts, key="m")
    passport = store.passport("ccin")
    assert passport["source"] == "imported"
    assert passport["fingerprint"] == facts  # the same for the file of another split
    assert passport["options"] == {"direction": "similarity"}
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert passport["sources"] == {"scores": {"name": "m.npy", "sha256": sha256, "key": "m"}}
    assert "truncated_at" not in passport


def test_importing_the_same_file_again_changes_nothing(tmp_path, store, scores):
    path = save(tmp_path / "m.npy", scores)
    import_scores(store, "m", path)
    before = contents(store)
    import_scores(store, "m", path)
    assert contents(store) == before
    save(path, scores + 1)
    with pytest.raises(StoreError, match="differs in sources"):
        import_scores(store, "m", path)
    assert contents(store) == before
    import_scores(store, "m", path, overwrite=True)
    assert_array_equal(store.scores("m"), scores + 1)


def test_a_full_trec_run_and_a_long_table_equal_the_matrix(tmp_path, store, dataset, scores, rng):
    cells = [
        (q, g, float(scores[i, j]))
        for i, q in enumerate(dataset.query_ids)
        for j, g in enumerate(dataset.gallery_ids)
    ]
    cells = [cells[i] for i in rng.permutation(len(cells))]
    (tmp_path / "r.trec").write_text("".join(f"{q} Q0 {g} 1 {s!r} me\n" for q, g, s in cells))
    columns = ["query_id", "image_id", "score"]
    pl.DataFrame(cells, schema=columns, orient="row").write_parquet(tmp_path / "r.parquet")
    for name in ("r.trec", "r.parquet"):
        import_scores(store, name.replace(".", "-"), tmp_path / name)
        assert_array_equal(store.scores(name.replace(".", "-")), scores)
        assert store.passport(name.replace(".", "-"))["truncated_at"] is None


def test_a_truncated_list_of_distances(tmp_path, store, dataset):
    lines = [f"{q} Q0 g{j} 1 {j} me\n" for q in dataset.query_ids for j in (1, 2, 3)]
    (tmp_path / "r.run").write_text("".join(lines))
    import_scores(store, "m", tmp_path / "r.run", direction="distance")
    row = store.scores("m")[[0]][0]
    assert_array_equal(row[1:4], [-1, -2, -3])
    assert np.isnan(row[[0, *range(4, N_GALLERY)]]).all()
    assert store.stack().gallery.unknown == {"m": "below"}
    assert store.passport("m")["truncated_at"] == 3


def test_recall_beyond_a_truncated_list_is_undecided(tmp_path, store, dataset):
    """3 of 12 listed; a target left out is anywhere in the places 4 to 12."""
    content = {"version": "rc2", "metric": "recall"}
    content |= {q: ["g0", "g1", "g2"] for q in dataset.query_ids}
    (tmp_path / "s.json").write_text(json.dumps(content))
    import_scores(store, "m", tmp_path / "s.json")
    metrics = ["recall@2", "recall@3", "recall@6", "recall@12"]
    frame = evaluate("m", store.stack(), metrics=metrics).frame
    assert frame.row(0)[2:] == (1.0, 1.0, 1.0, 1.0)  # target g1 is listed second
    assert_array_equal(frame.row(4)[2:], (0.0, 0.0, np.nan, 1.0))  # target g5 is not listed
    assert store.passport("m")["truncated_at"] == 3
    assert_array_equal(store.scores("m")[[0]][0], [-1, -2, -3, *[np.nan] * 9])


@pytest.mark.parametrize("measure", ["cosine", "dot"])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors"])
def test_features(tmp_path, store, dataset, rng, measure, suffix):
    queries = rng.normal(size=(N_QUERIES, 5)).astype(np.float32)
    gallery = rng.normal(size=(N_GALLERY, 5)).astype(np.float32)
    order = rng.permutation(N_GALLERY)
    ids = [dataset.gallery_ids[i] for i in order]
    listed = tmp_path / "ids.txt"
    listed.write_text("\n".join(ids))
    given = {"gallery_ids": listed} if suffix == ".npy" else {}
    in_file = None if given else ids
    import_features(
        store,
        "m",
        save(tmp_path / f"q{suffix}", queries),
        save(tmp_path / f"g{suffix}", np.ascontiguousarray(gallery[order]), None, in_file),
        measure=measure,
        **given,
    )
    expected = queries.astype(float) @ gallery.T.astype(float)
    if measure == "cosine":
        expected /= np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(gallery, axis=1)
    assert_allclose(store.scores("m"), expected, rtol=1e-5, atol=1e-6)
    assert store.passport("m")["options"]["measure"] == measure
    assert_array_equal(store.neighbours("m"), nearest_neighbours(gallery))


def bad_scores(scores, value):
    scores = scores.copy()
    scores[5, 3] = value
    return scores


BAD_MATRICES = {
    "nan": (lambda s: bad_scores(s, np.nan), SimilarityError, "got nan for query 'q5', image 'g3'"),
    "inf": (lambda s: bad_scores(s, np.inf), SimilarityError, "got inf for query 'q5', image 'g3'"),
    "float32-overflow": (lambda s: bad_scores(s.astype(float), 1e300), SimilarityError, "got inf"),
    "transposed": (lambda s: s.T.copy(), SimilarityError, r"got \(12, 7\)\. It looks transposed"),
    "narrow": (lambda s: s[:, :-1].copy(), SimilarityError, r"expected \(7, 12\) .* got \(7, 11\)"),
    "flat": (lambda s: s.ravel(), SimilarityError, "two-dimensional array of numbers"),
    "strings": (lambda s: s.astype(str), SimilarityError, "two-dimensional array of numbers"),
    "complex": (lambda s: s.astype(complex), SimilarityError, "two-dimensional array of numbers"),
    "empty": (lambda s: s[:0], SimilarityError, r"got \(0, 12\)"),
}


@pytest.mark.parametrize(("change", "error", "message"), BAD_MATRICES.values(), ids=BAD_MATRICES)
def test_bad_matrices_leave_the_store_as_it_was(tmp_path, store, scores, change, error, message):
    import_scores(store, "good", save(tmp_path / "good.npy", scores))
    before = contents(store)
    path = save(tmp_path / "m.npy", change(scores))
    with pytest.raises(error, match=message) as raised:
        import_scores(store, "m", path)
    assert "\n" not in str(raised.value)
    assert contents(store) == before
    assert store.unfinished == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: [*ids[:-1], "g99"], "1 image ids are unknown to the store, e.g. 'g99'"),
        (lambda ids: [*ids[:-1], "g0"], "1 image ids stand twice, e.g. 'g0'"),
    ],
)
def test_bad_ids(tmp_path, store, dataset, scores, change, message):
    path = save(tmp_path / "m.npz", scores, None, change(list(dataset.gallery_ids)))
    with pytest.raises(AlignmentError, match=message):
        import_scores(store, "m", path)
    short = save(tmp_path / "n.npz", scores[:-1], dataset.query_ids[:-1], None)
    with pytest.raises(AlignmentError, match="1 query ids are missing"):
        import_scores(store, "m", short)
    odd = save(tmp_path / "o.npz", scores, dataset.query_ids[:-1], None)
    with pytest.raises(SimilarityError, match="6 ids for 7 rows"):
        import_scores(store, "m", odd)
    assert store.providers == ()


def test_id_lists_for_a_file_that_has_ids(tmp_path, store, dataset, scores):
    path = save(tmp_path / "m.npz", scores, dataset.query_ids, None)
    (tmp_path / "q.txt").write_text("\n".join(dataset.query_ids))
    with pytest.raises(OptionError, match="has its own ids"):
        import_scores(store, "m", path, query_ids=tmp_path / "q.txt")
    (tmp_path / "r.trec").write_text("q0 Q0 g0 1 1 me\n")
    with pytest.raises(OptionError, match="lists with ids"):
        import_scores(store, "m", tmp_path / "r.trec", query_ids=tmp_path / "q.txt")
    with pytest.raises(DatasetError, match="one a line"):
        import_scores(store, "m", save(tmp_path / "n.npy", scores), query_ids=tmp_path / "no.txt")


class Harmful:
    def __reduce__(self):
        return Path.write_text, (Path("executed.txt"), "x")


def test_pickles_are_refused_without_being_executed(tmp_path, store, scores, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("m.npy", np.array([Harmful()], dtype=object), allow_pickle=True)
    np.savez("m.npz", scores=np.array([Harmful()], dtype=object))
    torch.save({"scores": Harmful()}, "m.pt")
    for name, error in (
        ("m.npy", SimilarityError),
        ("m.npz", SimilarityError),
        ("m.pt", ProviderError),
    ):
        with pytest.raises(error):
            import_scores(store, "m", name)
    assert not Path("executed.txt").exists()
    assert store.providers == ()


@pytest.mark.parametrize(
    "suffix", [".npy", ".npz", ".pt", ".safetensors", ".parquet", ".json", ".trec"]
)
def test_damaged_files_are_one_line(tmp_path, store, suffix):
    path = tmp_path / f"m{suffix}"
    for content in (b"", b"\x93NUMPY and then nothing", b"\xff" * 64):
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(DafmError, match="m") as raised:
                import_scores(store, "m", path)
        assert "\n" not in str(raised.value)
    path.unlink()
    with pytest.raises(DafmError, match=r"no such file|No such file"):
        import_scores(store, "m", path)


def test_unknown_choices(tmp_path, store, scores):
    path = save(tmp_path / "m.npy", scores)
    with pytest.raises(OptionError, match=r"format '\.safetensor'; did you mean '\.safetensors'"):
        import_scores(store, "m", tmp_path / "m.safetensor")
    with pytest.raises(OptionError, match="did you mean 'distance'"):
        import_scores(store, "m", path, direction="distances")
    with pytest.raises(OptionError, match="did you mean 'cosine'"):
        import_features(store, "m", path, path, measure="cosin")
    with pytest.raises(StoreError, match="expected lower-case letters"):
        import_scores(store, "My Model", path)


def test_a_subset_file_is_refused(tmp_path, store, dataset):
    content = {"version": "rc2", "metric": "recall_subset"}
    content |= {q: ["g0", "g1", "g2"] for q in dataset.query_ids}
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(SubmissionError, match="ranks each query's subset only"):
        import_scores(store, "m", tmp_path / "s.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, g: (q, g[:, :-1]), "expected features of the gallery's width 4, got 5"),
        (lambda q, g: (q[:-1], g), "expected 7 rows, got 6"),
        (lambda q, g: (q * 0, g), "features of query 'q0' are zero"),
        (lambda q, g: (q, bad_scores(g, np.nan)), "those of image 'g5' are not"),
    ],
)
def test_bad_features(tmp_path, store, rng, change, message):
    queries, gallery = change(rng.normal(size=(N_QUERIES, 5)), rng.normal(size=(N_GALLERY, 5)))
    paths = (
        save(tmp_path / "q.npy", queries),
        save(tmp_path / "g.npy", np.ascontiguousarray(gallery)),
    )
    with pytest.raises(SimilarityError, match=message):
        import_features(store, "m", *paths)
    assert store.providers == ()


def test_dot_products_beyond_the_dtype_leave_the_store_as_it_was(tmp_path, store, rng):
    queries, gallery = rng.normal(size=(N_QUERIES, 5)), 1e4 * rng.normal(size=(N_GALLERY, 5))
    paths = save(tmp_path / "q.npy", 1e4 * queries), save(tmp_path / "g.npy", gallery)
    with pytest.raises(SimilarityError, match="expected finite float16 scores"):
        import_features(store, "m", *paths, measure="dot", dtype="float16")
    assert store.providers == store.unfinished == ()
