"""What a file says about the order of its rows and columns is used, or the import is refused."""

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import AlignmentError, DatasetError, OptionError, SimilarityError
from dafm_core.formats.id_files import read_id_file
from dafm_core.formats.importing import import_scores
from dafm_core.store.store import SimilarityStore

QUERIES = tuple(f"q{i}" for i in range(3))
GALLERY = tuple(f"img{i:02}" for i in range(5))


def make_store(path, queries=QUERIES, gallery=GALLERY):
    rows = [{"query_id": q, "reference": gallery[0], "text": "t"} for q in queries]
    dataset = Dataset(protocol="p", gallery_ids=gallery, queries=query_frame(rows, where="f"))
    return SimilarityStore.create(path, dataset)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


@pytest.fixture
def scores(rng):
    return rng.normal(size=(len(QUERIES), len(GALLERY))).astype(np.float32)


@pytest.fixture
def columns(rng):
    return rng.permutation(len(GALLERY))


def save(path, scores, **members):
    """Write scores with lists beside them, as each format has them."""
    if path.suffix == ".npz":
        np.savez(path, scores=scores, **{k: np.array(v) for k, v in members.items()})
    elif path.suffix == ".pt":
        torch.save({"scores": torch.from_numpy(scores.copy()), **members}, path)
    else:
        save_file({"scores": scores.copy()}, path, {k: json.dumps(v) for k, v in members.items()})
    return path


NAMES = ["gallery_ids", "index_names", "names", "Gallery_IDs", "ids", "val-images", "meta.x", "z"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors"])
@pytest.mark.parametrize("key", [None, "scores"])
def test_a_list_of_ids_is_used_whatever_it_is_called(
    tmp_path, store, scores, columns, name, suffix, key
):
    ids = [GALLERY[i] for i in columns]
    path = save(tmp_path / f"m{suffix}", scores[:, columns], **{name: ids})
    import_scores(store, "m", path, key=key)
    assert_array_equal(store.scores("m"), scores)


SHAPES = {
    "tuple": tuple,
    "column": lambda ids: np.array(ids)[:, None],
    "objects": lambda ids: np.array(ids, dtype=object),
    "bytes": lambda ids: np.array([i.encode() for i in ids]),
    "positions": lambda ids: {name: place for place, name in enumerate(ids)},
    "by-position": lambda ids: dict(enumerate(ids)),
    "nested": lambda ids: {"deeper": {"names": ids}},
    "in-a-list": lambda ids: [ids, "text"],
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_list_of_ids_is_used_whatever_its_form(tmp_path, store, scores, columns, shape):
    ids = shape([GALLERY[i] for i in columns])
    path = save(tmp_path / "m.pt", scores[:, columns], order=ids)
    import_scores(store, "m", path)
    assert_array_equal(store.scores("m"), scores)


def test_numbers_are_ids_where_the_store_has_them(tmp_path, scores, rng):
    queries, rows = ("100", "7", "23"), rng.permutation(3)
    store = make_store(tmp_path / "numbers", queries)
    path = save(tmp_path / "m.npz", scores[rows], pairid=[int(queries[i]) for i in rows])
    import_scores(store, "m", path)
    assert_array_equal(store.scores("m"), scores)


@pytest.mark.parametrize(
    "values",
    [
        list("abcde"),
        [3, 1, 2, 5, 4],
        [0.5] * 5,
        [True] * 5,
        np.array([{}] * 5),
        dict.fromkeys("abcde", 0.5),
    ],
)
def test_a_list_as_long_as_an_axis_that_is_no_ids_is_named(tmp_path, store, scores, values):
    path = save(tmp_path / "m.pt", scores, odd=values)
    for key in (None, "scores"):
        with pytest.raises(AlignmentError, match=r"'odd' has an entry for each of the 5 columns"):
            import_scores(store, "m", path, key=key)
    import_scores(store, "m", path, ignore=["odd"])
    assert_array_equal(store.scores("m"), scores)
    with pytest.raises(OptionError, match="no member 'od' to ignore; did you mean 'odd'"):
        import_scores(store, "m", path, ignore=["od"])


def test_other_lists_do_no_harm_where_the_axis_has_its_ids(tmp_path, store, scores, columns):
    ids = [GALLERY[i] for i in columns]
    odd = {"captions": list("abcde"), "epoch": 3, "losses": [0.5] * 9}
    path = save(tmp_path / "m.pt", scores[:, columns], names=ids, **odd)
    import_scores(store, "m", path)
    assert_array_equal(store.scores("m"), scores)


def test_two_lists_that_disagree_are_refused(tmp_path, store, scores):
    lists = {"names": list(GALLERY), "index_names": list(reversed(GALLERY))}
    path = save(tmp_path / "m.pt", scores, **lists)
    with pytest.raises(
        AlignmentError, match="'names' and 'index_names' list the image ids in diff"
    ):
        import_scores(store, "m", path)
    import_scores(store, "m", path, ignore=["index_names"])
    assert_array_equal(store.scores("m"), scores)


def test_ids_that_could_name_either_axis_need_a_word(tmp_path, scores, rng):
    names, order = ("a", "b", "c"), rng.permutation(3)
    square, store = scores[:, :3], make_store(tmp_path / "square", ("a", "b", "c"), ("a", "b", "c"))
    ids = [names[i] for i in order]
    path = save(tmp_path / "m.npz", square[:, order], labels=ids)
    with pytest.raises(AlignmentError, match="could name the rows as well as the columns"):
        import_scores(store, "m", path)
    save(path, square[:, order], labels=ids, query_ids=list(names))
    import_scores(store, "m", path)
    assert_array_equal(store.scores("m"), square)


def test_supersets_are_cut_to_the_store(tmp_path, store, scores, rng):
    ids = [*GALLERY, "other", "third"]
    wide = np.hstack([scores, rng.normal(size=(3, 2)).astype(np.float32)])
    order = rng.permutation(7)
    path = save(tmp_path / "m.npz", wide[:, order], names=[ids[i] for i in order])
    result = import_scores(store, "m", path)
    assert_array_equal(store.scores("m"), scores)
    assert result.n_images_left_out == 2
    assert result.notes() == ["2 images of the file are not in the store and were left out"]


def test_ids_by_a_rule_need_a_flag(tmp_path, store, scores, columns):
    ids = [f"./val/{GALLERY[i]}.jpg" for i in columns]
    path = save(tmp_path / "m.npz", scores[:, columns], files=ids)
    with pytest.raises(AlignmentError, match="confirm it with --ids basename\\+extension"):
        import_scores(store, "m", path)
    import_scores(store, "m", path, rule="basename+extension")
    assert_array_equal(store.scores("m"), scores)
    assert store.passport("m")["options"]["ids"] == "basename+extension"


def test_the_metadata_of_safetensors_may_be_plain_text(tmp_path, store, scores, columns):
    for separator in (",", ", ", "\n", "|"):
        text = separator.join(GALLERY[i] for i in columns)
        path = tmp_path / "m.safetensors"
        save_file(
            {"scores": scores[:, columns].copy()}, path, {"gallery_ids": text, "format": "pt"}
        )
        import_scores(store, "m", path, overwrite=True)
        assert_array_equal(store.scores("m"), scores)


def test_a_list_of_another_length_is_named(tmp_path, store, scores):
    path = save(tmp_path / "m.npz", scores, query_ids=list(GALLERY))
    with pytest.raises(
        SimilarityError, match=r"'query_ids' lists 5 ids for 3 rows\. It looks transp"
    ):
        import_scores(store, "m", path)


ID_FILES = {
    "ids.txt": lambda p, ids: p.write_text("\ufeff" + "\r\n".join(ids) + "\n\n"),
    "ids.json": lambda p, ids: p.write_text(json.dumps(ids)),
    "positions.json": lambda p, ids: p.write_text(json.dumps({n: i for i, n in enumerate(ids)})),
    "paths.json": lambda p, ids: p.write_text(json.dumps({n: f"./dev/{n}.png" for n in ids})),
    "ids.npy": lambda p, ids: np.save(p, np.array(ids)),
    "objects.npy": lambda p, ids: np.save(p, np.array(ids, dtype=object)),
}


@pytest.mark.parametrize(("name", "write"), ID_FILES.items(), ids=ID_FILES)
def test_lists_of_ids_in_files_of_their_own(tmp_path, store, scores, columns, name, write):
    ids = [GALLERY[i] for i in columns]
    write(tmp_path / name, ids)
    assert read_id_file(tmp_path / name) == tuple(ids)
    np.save(tmp_path / "m.npy", scores[:, columns])
    import_scores(store, "m", tmp_path / "m.npy", gallery_ids=tmp_path / name)
    assert_array_equal(store.scores("m"), scores)


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.json", b"{"), ("x.json", b"[0.5]"), ("x.json", b"3"), ("x.npy", b"x"), ("x.txt", b"\n")],
)
def test_files_without_ids(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=name):
        read_id_file(tmp_path / name)
