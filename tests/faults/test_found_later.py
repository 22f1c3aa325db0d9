"""What trying files, features and lists of the same kinds again has found: one small case each."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dafm_core.cli.main import main
from dafm_core.datasets.folder import load
from dafm_core.errors import AlignmentError, DafmError, DatasetError, OptionError, SimilarityError
from dafm_core.formats.importing import import_features, import_scores
from dafm_core.scoring.neighbours import nearest_neighbours
from dafm_core.store.store import SimilarityStore


@pytest.fixture
def store(tmp_path, score):
    """A store of 12 queries and 9 images."""
    score(tmp_path / "store")
    return SimilarityStore.open(tmp_path / "store")


@pytest.fixture
def scores(rng):
    return rng.standard_normal((12, 9)).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
def test_cosines_are_the_same_at_every_scale_that_float32_holds(tmp_path, store, rng, scale):
    queries, gallery = rng.standard_normal((12, 4)), rng.standard_normal((9, 4))
    for name, factor in (("small", 1), ("scaled", scale)):
        np.save(tmp_path / "q.npy", (queries * factor).astype(np.float32))
        np.save(tmp_path / "g.npy", (gallery * factor).astype(np.float32))
        import_features(store, name, tmp_path / "q.npy", tmp_path / "g.npy")
    assert_allclose(store.scores("scaled"), store.scores("small"), atol=1e-6)
    scaled = nearest_neighbours((gallery * scale).astype(np.float32))
    assert (scaled == nearest_neighbours(gallery.astype(np.float32))).all()


def lines(scores, store, *, twice=1):
    """Return the lines of a long table with its scores in one or several columns."""
    dataset = store.dataset
    return [
        ",".join([query, image, *[str(scores[i, j] * sign) for sign in (1, -1)[:twice]]])
        for i, query in enumerate(dataset.query_ids)
        for j, image in enumerate(dataset.gallery_ids)
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("query_id,image_id,score,score", "column 'score' stands twice"),
        ("query_id,image_id,score,similarity", "one column of scores, got score and similarity"),
    ],
)
def test_two_columns_of_scores_are_not_chosen_among_in_silence(
    tmp_path, store, scores, names, said
):
    (tmp_path / "s.csv").write_text("\n".join([names, *lines(scores, store, twice=2)]))
    with pytest.raises((OptionError, SimilarityError), match=said):
        import_scores(store, "mine", tmp_path / "s.csv")
    if "similarity" in names:
        import_scores(store, "mine", tmp_path / "s.csv", key="similarity")
        assert_allclose(store.scores("mine"), -scores, atol=1e-5)


def test_an_image_that_two_columns_are_called_is_refused(tmp_path, store, scores):
    ids = [*store.dataset.gallery_ids, store.dataset.gallery_ids[0]]
    rows = [
        [q, *map(str, row), "7"] for q, row in zip(store.dataset.query_ids, scores, strict=True)
    ]
    text = "\n".join(",".join(row) for row in [["query_id", *ids], *rows])
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(SimilarityError, match="stands twice"):
        import_scores(store, "mine", tmp_path / "s.csv")


@pytest.mark.parametrize("form", ["scores", "rows", "grades"])
def test_a_whole_number_that_nothing_holds_is_one_line(tmp_path, store, form):
    query, image = store.dataset.query_ids[0], store.dataset.gallery_ids[0]
    number = "9" * 400
    path = tmp_path / "s.json"
    if form == "scores":
        path.write_text(f'{{"{query}": {{"{image}": {number}}}}}')
    else:
        path.write_text(f'[{{"query_id": "{query}", "image_id": "{image}", "score": {number}}}]')
    if form == "grades":
        row = {"query_id": "q", "reference": image, "text": "t", "targets": [image]}
        text = json.dumps(row)[:-1] + f', "grades": [{number}]}}'
        (tmp_path / "queries.jsonl").write_text(text)
        (tmp_path / "gallery.txt").write_text(image)
    with pytest.raises(DafmError, match="whole number of 400 digits"):
        load(tmp_path) if form == "grades" else import_scores(store, "mine", path)


@pytest.mark.parametrize("kept", ["records", "half a list"])
def test_a_list_beside_a_matrix_that_holds_no_ids_is_not_passed_over(tmp_path, store, scores, kept):
    torch = pytest.importorskip("torch")
    ids = store.dataset.query_ids
    beside = {
        "records": {"queries": [{"query": i} for i in ids]},
        "half a list": {"query_ids": [*ids[:-1], {}]},
    }[kept]
    torch.save({"scores": torch.tensor(scores), **beside}, tmp_path / "s.pt")
    with pytest.raises((AlignmentError, SimilarityError), match=r"no query ids|to list ids"):
        import_scores(store, "mine", tmp_path / "s.pt")


def test_ids_of_safetensors_that_are_half_a_list_are_not_passed_over(tmp_path, store, scores):
    numpy = pytest.importorskip("safetensors.numpy")
    metadata = {"gallery_ids": json.dumps([*store.dataset.gallery_ids[:-1], {}])}
    numpy.save_file({"scores": scores}, tmp_path / "s.safetensors", metadata=metadata)
    with pytest.raises(SimilarityError, match="'gallery_ids' to list ids"):
        import_scores(store, "mine", tmp_path / "s.safetensors")


def test_a_bad_file_of_subsets_leaves_nothing(tmp_path, store, scores, capsys):
    np.save(tmp_path / "s.npy", scores)
    words = ["import", tmp_path / "s.npy", "--provider", "mine", "--store", store.path]
    assert main([*map(str, words), "--subset-file", str(tmp_path / "s.npy")]) == 2
    assert "expected JSON" in capsys.readouterr().err
    assert SimilarityStore.open(store.path).providers == ("dot",)


@pytest.mark.parametrize("column", ["query_id", "image_id"])
def test_an_id_that_is_empty_is_said(tmp_path, column):
    row = {"query_id": "q", "reference": "a", "text": "", "targets": ["a"]}
    if column == "query_id":
        row["query_id"] = ""
    (tmp_path / "queries.jsonl").write_text(json.dumps(row))
    (tmp_path / "gallery.txt").write_text("a\nb\n")
    if column == "image_id":
        dataset = load(tmp_path)
        assert dataset.queries["text"].to_list() == [""], "a text may be empty"
        with pytest.raises(DatasetError, match="got an empty one"):
            type(dataset)(
                protocol="p", gallery_ids=("a", ""), queries=dataset.queries, metrics=("recall@1",)
            )
    else:
        with pytest.raises(DatasetError, match="got an empty one"):
            load(tmp_path)
