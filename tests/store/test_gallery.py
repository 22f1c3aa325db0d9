"""A gallery is read by name and id: chosen models, and candidates in any order, with neighbours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.errors import AlignmentError, DatasetError
from dafm_core.ground.ids import Ids
from dafm_core.store.gallery import Gallery

NAMES = ("a", "b", "c", "d", "e")
NEAREST = np.array([[1, 2, 4], [0, 2, -1], [3, 0, 1], [2, 1, -1], [0, 3, 2]], np.int32)


def make():
    return Gallery(
        names=("x", "y", "z"),
        ids=NAMES,
        passports={name: {"fingerprint": name} for name in "xyz"},
        neighbours={"x": NEAREST, "z": NEAREST[:, :1]},
    )


@given(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
def test_neighbours_follow_their_ids_and_are_forgotten_with_them(ids):
    part = make().take(ids)
    assert part.ids == tuple(ids)
    assert part.n_candidates == len(ids)
    for column, name in enumerate(ids):
        expected = [NAMES[n] if n >= 0 else None for n in NEAREST[NAMES.index(name)]]
        kept = [neighbour if neighbour in ids else None for neighbour in expected]
        nearest = part.neighbours["x"][column]
        assert [ids[n] if n >= 0 else None for n in nearest] == kept
    assert part.neighbours["x"].dtype == np.int32
    assert part.neighbours["z"].shape == (len(ids), 1)


@given(st.permutations(NAMES), st.permutations(NAMES))
def test_taking_twice_is_taking_the_second(first, second):
    twice, once = make().take(first).take(second), make().take(second)
    assert twice.ids == once.ids
    for name in ("x", "z"):
        np.testing.assert_array_equal(twice.neighbours[name], once.neighbours[name])


def test_selection_sorts_by_name_and_keeps_what_belongs_to_each():
    gallery = make().select(["z", "y"])
    assert gallery.names == ("y", "z")
    assert gallery.n_providers == 2
    assert gallery.passports == {name: {"fingerprint": name} for name in "yz"}
    assert gallery.neighbours.keys() == {"z"}
    assert gallery.ids == NAMES


def test_ids_may_be_given_as_any_sequence_but_not_twice():
    assert isinstance(make().ids, Ids)
    assert Gallery(names=("x",), ids=["b", "a"]).ids.positions(["a"]).tolist() == [1]
    with pytest.raises(DatasetError, match="gallery: id 'a' stands twice"):
        Gallery(names=("x",), ids=["a", "b", "a"])
    with pytest.raises(DatasetError, match="gallery: id 'a' stands twice"):
        make().take(["a", "a"])


def test_what_is_not_there_is_named():
    with pytest.raises(AlignmentError, match="no provider 'xx'; did you mean 'x'"):
        make().select(["xx"])
    with pytest.raises(AlignmentError, match="at least one provider"):
        make().select([])
    with pytest.raises(AlignmentError, match="no gallery image 'q'"):
        make().take(["a", "q"])
