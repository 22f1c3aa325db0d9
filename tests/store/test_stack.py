"""Stacks align by name and id, never by position, and read a few rows at a time."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import AlignmentError, DatasetError, SimilarityError, StoreError
from dafm_core.evaluation.evaluate import evaluate_providers
from dafm_core.metrics import truth as truth_module
from dafm_core.scoring.score import score
from dafm_core.store.manifest import sealed
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore

QUERIES, GALLERY = ("q0", "q1", "q2"), ("a", "b", "c", "d")
NEAREST = np.array([[1, 2], [0, 2], [3, 0], [2, 1]], np.int32)


def make_dataset():
    excluded = (["a"], [], ["b", "d"])
    rows = [
        {"query_id": query, "reference": "a", "text": "", "targets": ["c"], "excluded": ids}
        for query, ids in zip(QUERIES, excluded, strict=True)
    ]
    return Dataset(protocol="toy", gallery_ids=GALLERY, queries=query_frame(rows, where="toy"))


def make_stack():
    rng = np.random.default_rng(0)
    matrices = {name: rng.standard_normal((3, 4)).astype(np.float32) for name in ("y", "x")}
    return SimilarityStack.from_matrices(matrices, make_dataset(), neighbours={"x": NEAREST})


@pytest.fixture
def stack():
    return make_stack()


def test_providers_are_ordered_by_name(stack):
    assert stack.names == ("x", "y")
    np.testing.assert_array_equal(stack.tile(1, 2)[0, 0], stack.matrices[0][1])


def test_a_stack_is_its_dataset_and_rows(stack):
    assert stack.dataset == make_dataset()
    assert (stack.protocol, stack.query_ids, stack.gallery_ids) == ("toy", QUERIES, GALLERY)
    assert (stack.n_providers, stack.n_queries, stack.n_gallery) == (2, 3, 4)


def test_excluded_cells_are_minus_infinity_for_every_provider(stack):
    tile = stack.tile(0, 3)
    assert np.argwhere(np.isneginf(tile[:, 0])).tolist() == [[0, 0], [2, 1], [2, 3]]
    np.testing.assert_array_equal(np.isneginf(tile[:, 0]), np.isneginf(tile[:, 1]))


@given(st.integers(1, 5))
def test_tiles_of_any_size_are_the_whole(size):
    stack = make_stack()
    pieces = list(stack.tiles(size))
    np.testing.assert_array_equal(np.concatenate([tile for _, tile in pieces]), stack.tile(0, 3))
    assert [rows.start for rows, _ in pieces] == list(range(0, 3, size))


@given(st.permutations(range(4)), st.permutations(range(3)))
def test_reordering_moves_scores_exclusions_and_neighbours_with_their_ids(columns, rows):
    stack = make_stack()
    moved = stack.take_gallery([GALLERY[c] for c in columns])
    moved = moved.take_queries([QUERIES[r] for r in rows])
    expected = stack.tile(0, 3)[rows][:, :, columns]
    np.testing.assert_array_equal(moved.tile(0, 3), expected)
    nearest = moved.gallery.neighbours["x"]
    for new, old in enumerate(columns):
        ids = [moved.gallery_ids[i] for i in nearest[new]]
        assert ids == [GALLERY[i] for i in NEAREST[old]]


def test_leaving_candidates_out_forgets_them_as_neighbours(stack):
    part = stack.take_gallery(["a", "b"])
    assert part.gallery.neighbours["x"].tolist() == [[1, -1], [0, -1]]
    assert part.dataset.excluded[2].tolist() == [1]


def test_taking_candidates_keeps_the_truth_with_its_ids(make_problem, rng):
    dataset, stack = make_problem(n_targets=2)
    gallery = rng.permutation(dataset.gallery_ids).tolist()[:30]
    part = stack.take_gallery(gallery)
    assert part.gallery.ids == part.dataset.gallery_ids == part.gallery_ids == tuple(gallery)
    for name in ("targets", "subsets", "excluded"):
        pairs = zip(getattr(stack.truth, name), getattr(part.truth, name), strict=True)
        for old, new in pairs:
            ids = {dataset.gallery_ids[column] for column in old}
            assert {gallery[column] for column in new} == ids & set(gallery)
    assert part.truth.n_targets.tolist() == [2] * 60  # one left out is still to be retrieved
    tile, whole = part.tile(0, 60), stack.tile(0, 60)
    for (row, new), old in zip(
        zip(part.truth.targets.rows, part.truth.targets.values, strict=True),
        dataset.gallery_ids.positions(gallery[c] for c in part.truth.targets.values),
        strict=True,
    ):
        np.testing.assert_array_equal(tile[row, :, new], whole[row, :, old])


def test_a_shuffled_gallery_gives_the_same_values(make_problem, rng):
    _, stack = make_problem()
    moved = stack.take_gallery(rng.permutation(stack.gallery_ids).tolist())
    expected = {name: e.frame for name, e in evaluate_providers(stack).items()}
    for name, evaluation in evaluate_providers(moved).items():
        assert evaluation.frame.equals(expected[name])


def test_single_places_are_ranks_counted_by_hand(make_problem):
    dataset, stack = make_problem(n_targets=2)
    for name, matrix in zip(stack.names, stack.matrices, strict=True):
        expected, within = [], []
        for row, targets, excluded, subset in zip(
            matrix, dataset.targets, dataset.excluded, dataset.subsets, strict=True
        ):
            order = [c for c in np.argsort(-row) if c not in excluded]
            among = [c for c in order if c in subset]
            expected += [order.index(target) for target in targets]
            within += [among.index(target) for target in targets]
        places = stack.single_places[name]
        assert places.gallery.greater.tolist() == expected
        assert places.subset.greater.tolist() == within
        assert set(places.gallery.tied) == {1}
        assert places.gallery.n_queries == 60


def test_single_places_do_not_depend_on_tiles(make_problem, monkeypatch):
    _, stack = make_problem()
    whole = stack.single_places["model-1"]
    monkeypatch.setattr("dafm_core.store.stack.TILE_BYTES", 1)
    again = replace(stack).single_places["model-1"]
    for name in ("gallery", "subset"):
        for field, array in vars(getattr(whole, name)).items():
            np.testing.assert_array_equal(getattr(getattr(again, name), field), array)


def test_truth_and_single_places_are_counted_once(make_problem, monkeypatch):
    _, stack = make_problem()
    calls = []
    rank_targets = truth_module.rank_targets
    monkeypatch.setattr(
        truth_module, "rank_targets", lambda *a, **k: (calls.append(1), rank_targets(*a, **k))[1]
    )
    first = stack.single_places
    assert len(calls) == 2 * stack.n_providers  # one tile: gallery and subset of each provider
    assert stack.single_places is first
    assert stack.truth is stack.truth
    evaluate_providers(stack)
    evaluate_providers(stack, metrics=["recall@3", "rsubset@2", "map@5"])
    assert len(calls) == 2 * stack.n_providers


@pytest.mark.parametrize("seed", [0, 1])
def test_a_split_shares_no_group_and_makes_up_the_whole(make_problem, seed):
    dataset, stack = make_problem()
    fit, held_out = stack.split(test_size=0.3, seed=seed)
    assert not set(fit.dataset.groups) & set(held_out.dataset.groups)
    assert [fit.dataset, held_out.dataset] == list(dataset.split(test_size=0.3, seed=seed))
    assert_reassembles([fit, held_out], stack)


def test_a_split_may_go_by_another_column(make_problem):
    _, stack = make_problem()
    fit, held_out = stack.split(group_by="text")
    texts = [set(part.dataset.queries["text"]) for part in (fit, held_out)]
    assert not texts[0] & texts[1]
    assert_reassembles([fit, held_out], stack)


@pytest.mark.parametrize("n_folds", [2, 5])
def test_folds_share_no_group_and_make_up_the_whole(make_problem, n_folds):
    _, stack = make_problem()
    pairs = stack.folds(n_folds, seed=3)
    assert len(pairs) == n_folds
    for train, test in pairs:
        assert not set(train.dataset.groups) & set(test.dataset.groups)
        assert_reassembles([train, test], stack)
    assert_reassembles([test for _, test in pairs], stack)
    again = [test.query_ids for _, test in stack.folds(n_folds, seed=3)]
    assert again == [test.query_ids for _, test in pairs]


def test_folds_that_cannot_be_are_refused(stack):
    with pytest.raises(DatasetError, match=r"expected between 2 and 3 \(the number of groups\)"):
        stack.folds(4)


def assert_reassembles(parts, stack):
    """Check that parts hold every query once, with its own row and targets."""
    ids = [query for part in parts for query in part.query_ids]
    assert sorted(ids) == sorted(stack.query_ids)
    rows = stack.query_ids.positions(ids)
    tiles = np.concatenate([part.tile(0, part.n_queries) for part in parts])
    np.testing.assert_array_equal(tiles, stack.tile(0, stack.n_queries)[rows])
    targets = [row.tolist() for part in parts for row in part.truth.targets]
    assert targets == [stack.truth.targets[row].tolist() for row in rows]


def test_labelled_keeps_the_queries_with_a_target_in_the_gallery(make_problem):
    dataset, stack = make_problem()
    assert stack.labelled() is stack
    gone = dataset.queries["targets"][3][0]
    part = stack.take_gallery([name for name in dataset.gallery_ids if name != gone]).labelled()
    pairs = zip(dataset.query_ids, dataset.queries["targets"], strict=True)
    lost = [query for query, targets in pairs if gone in targets]
    assert part.query_ids == tuple(q for q in dataset.query_ids if q not in lost)
    assert lost


def test_selection_keeps_only_what_is_named(stack):
    part = stack.select(["y"])
    assert part.names == part.gallery.names == ("y",)
    np.testing.assert_array_equal(part.tile(0, 3), stack.tile(0, 3)[:, 1:])
    assert stack.select(["y", "x"]).names == ("x", "y")
    with pytest.raises(AlignmentError, match="no provider 'xx'; did you mean 'x'"):
        stack.select(["xx"])
    with pytest.raises(AlignmentError, match="at least one"):
        stack.select([])


def test_unknown_and_repeated_ids_are_named(stack):
    with pytest.raises(DatasetError, match="no query 'q9'"):
        stack.take_queries(["q9"])
    with pytest.raises(DatasetError, match="'q1' stands twice"):
        stack.take_queries(["q1", "q1"])
    with pytest.raises(AlignmentError, match="no gallery image 'z'"):
        stack.take_gallery(["z"])
    with pytest.raises(DatasetError, match="'a' stands twice"):
        stack.take_gallery(["a", "a"])


def test_a_matrix_of_another_shape_names_its_provider():
    with pytest.raises(SimilarityError, match=r"'x': expected a matrix of shape \(3, 4\)"):
        SimilarityStack.from_matrices({"x": np.zeros((4, 3))}, make_dataset())
    with pytest.raises(AlignmentError, match="expected at least one provider, got none"):
        SimilarityStack.from_matrices({}, make_dataset())


def test_a_store_gives_a_stack_of_its_dataset(tmp_path, dataset, make_provider):
    score(dataset, {"a": make_provider(1), "b": make_provider(2)}, store=tmp_path / "s")
    store = SimilarityStore.open(tmp_path / "s")
    whole = store.stack()
    assert whole.dataset == store.dataset
    assert whole.names == ("a", "b")
    np.testing.assert_array_equal(whole.matrices[1], store.scores("b"))
    assert whole.gallery.passports["a"] == store.passport("a")
    np.testing.assert_array_equal(whole.gallery.neighbours["b"], store.neighbours("b"))
    assert store.stack(["b"]).names == ("b",)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("queries_sha256", r"b.passport\.json: expected the store's queries_sha256"),
        ("provider", r"b.passport\.json: expected the passport of 'b', got that of"),
        (
            "direction",
            r"b.passport\.json: expected the store's direction 'similarity', got 'other'",
        ),
    ],
)
def test_passports_that_disagree_are_named(tmp_path, dataset, make_provider, field, said):
    score(dataset, {"a": make_provider(1), "b": make_provider(2)}, store=tmp_path / "s")
    path = tmp_path / "s" / "b" / "passport.json"
    path.write_text(json.dumps(sealed(json.loads(path.read_text()) | {field: "other"})))
    with pytest.raises(StoreError, match=said):
        SimilarityStore.open(tmp_path / "s").stack()


def test_an_empty_store_is_said(tmp_path, dataset):
    store = SimilarityStore.create(tmp_path / "s", dataset)
    with pytest.raises(AlignmentError, match="nothing is scored yet"):
        store.stack()


def test_nan_is_refused_where_no_shortlist_is_stated(dataset):
    matrix = np.zeros((dataset.n_queries, dataset.n_gallery), np.float32)
    matrix[3, 5] = np.nan
    with pytest.raises(SimilarityError, match=r"'broken'.* NaN for query 'q3', image 'img5'"):
        SimilarityStack.from_matrices({"broken": matrix}, dataset)
