"""Stacks align by name and id, never by position, and read a few rows at a time."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.errors import AlignmentError, SimilarityError
from dafm_core.ground.ragged import Ragged
from dafm_core.scoring.score import score
from dafm_core.store.stack import SimilarityStack
from dafm_core.store.store import SimilarityStore

QUERIES, GALLERY = ("q0", "q1", "q2"), ("a", "b", "c", "d")


@pytest.fixture
def stack(rng):
    matrices = {name: rng.standard_normal((3, 4)).astype(np.float32) for name in ("y", "x")}
    return SimilarityStack.from_matrices(
        matrices,
        protocol="toy",
        query_ids=QUERIES,
        gallery_ids=GALLERY,
        excluded=Ragged.from_rows([[0], [], [1, 3]]),
        neighbours={"x": np.array([[1, 2], [0, 2], [3, 0], [2, 1]], np.int32)},
    )


def test_providers_are_ordered_by_name(stack):
    assert stack.names == ("x", "y")
    np.testing.assert_array_equal(stack.tile(1, 2)[0, 0], stack.matrices[0][1])


def test_excluded_cells_are_minus_infinity_for_every_provider(stack):
    tile = stack.tile(0, 3)
    assert np.argwhere(np.isneginf(tile[:, 0])).tolist() == [[0, 0], [2, 1], [2, 3]]
    np.testing.assert_array_equal(np.isneginf(tile[:, 0]), np.isneginf(tile[:, 1]))


@given(st.integers(1, 5))
def test_tiles_of_any_size_are_the_whole(size):
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    stack = SimilarityStack.from_matrices(
        {"x": matrix}, protocol="toy", query_ids=QUERIES, gallery_ids=GALLERY
    )
    whole = np.concatenate([tile for _, tile in stack.tiles(size)])
    np.testing.assert_array_equal(whole[:, 0], matrix)


@given(st.permutations(range(4)), st.permutations(range(3)))
def test_reordering_moves_scores_exclusions_and_neighbours_with_their_ids(columns, rows):
    rng = np.random.default_rng(0)
    stack = SimilarityStack.from_matrices(
        {"x": rng.standard_normal((3, 4)).astype(np.float32)},
        protocol="toy",
        query_ids=QUERIES,
        gallery_ids=GALLERY,
        excluded=Ragged.from_rows([[0], [], [1, 3]]),
        neighbours={"x": np.array([[1, 2], [0, 2], [3, 0], [2, 1]], np.int32)},
    )
    moved = stack.take_gallery([GALLERY[c] for c in columns])
    moved = moved.take_queries([QUERIES[r] for r in rows])
    expected = stack.tile(0, 3)[rows][:, :, columns]
    np.testing.assert_array_equal(moved.tile(0, 3), expected)
    for new, old in enumerate(columns):
        ids = [moved.gallery_ids[i] for i in moved.neighbours["x"][new]]
        assert ids == [GALLERY[i] for i in stack.neighbours["x"][old]]


def test_leaving_candidates_out_forgets_them_as_neighbours(stack):
    part = stack.take_gallery(["a", "b"])
    assert part.neighbours["x"].tolist() == [[1, -1], [0, -1]]
    assert part.excluded[2].tolist() == [1]


def test_selection_keeps_only_what_is_named(stack):
    assert stack.select(["x"]).names == ("x",)
    with pytest.raises(AlignmentError, match="no provider 'xx'; did you mean 'x'"):
        stack.select(["xx"])
    with pytest.raises(AlignmentError, match="at least one"):
        stack.select([])


def test_unknown_ids_are_named(stack):
    with pytest.raises(AlignmentError, match="no query 'q9'"):
        stack.take_queries(["q9"])
    with pytest.raises(AlignmentError, match="no gallery image 'z'"):
        stack.take_gallery(["z"])


def test_a_matrix_of_another_shape_names_its_provider():
    with pytest.raises(SimilarityError, match=r"'x': expected a matrix of shape \(3, 4\)"):
        SimilarityStack.from_matrices(
            {"x": np.zeros((4, 3))}, protocol="toy", query_ids=QUERIES, gallery_ids=GALLERY
        )


def test_passports_that_disagree_are_named(tmp_path, dataset, make_provider):
    score(dataset, {"a": make_provider(1), "b": make_provider(2)}, store=tmp_path / "s")
    path = tmp_path / "s" / "b" / "passport.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"queries_sha256": "0"}))
    with pytest.raises(AlignmentError, match=r"disagree in 'queries_sha256': a has .* b has '0'"):
        SimilarityStore.open(tmp_path / "s").stack()


def test_an_empty_store_is_said(tmp_path, dataset):
    store = SimilarityStore.create(tmp_path / "s", dataset)
    with pytest.raises(AlignmentError, match="nothing is scored yet"):
        store.stack()
