"""Ids against lists: what is where, and what is said of an id that is nowhere."""

import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.errors import AlignmentError, DatasetError
from dafm_core.ground.ids import LONGEST_ID, Ids, hash_strings

NAMES = st.lists(st.text(alphabet="abcé-", min_size=1, max_size=3), unique=True, max_size=8)


@given(NAMES)
def test_ids_compare_hash_and_print_as_the_tuple_they_are(names):
    ids = Ids(names)
    assert ids == tuple(names)
    assert hash(ids) == hash(tuple(names))
    assert repr(ids) == repr(tuple(names))
    assert pickle.loads(pickle.dumps(ids)) == ids


@given(NAMES, st.data())
def test_positions_are_those_a_list_finds(names, data):
    ids = Ids(names)
    wanted = data.draw(st.lists(st.sampled_from(names), max_size=10)) if names else []
    assert ids.positions(wanted).tolist() == [names.index(name) for name in wanted]
    assert ids.positions(wanted).dtype == "int64"
    assert ids.place == {name: names.index(name) for name in names}


@given(NAMES, NAMES)
def test_places_in_another_list_are_those_a_list_finds(names, others):
    expected = [others.index(name) if name in others else -1 for name in names]
    assert Ids(names).where_in(others).tolist() == expected
    assert Ids(names).where_in(Ids(others)).tolist() == expected


@given(NAMES, st.text(alphabet="abcé-", max_size=3))
def test_membership_is_that_of_a_list(names, name):
    ids = Ids(names)
    assert (name in ids) == (name in names)
    assert ids.get(name) == (names.index(name) if name in names else None)
    assert 3 not in ids


@given(st.lists(st.sampled_from("abcd"), max_size=6))
def test_the_first_id_that_stands_twice_is_named(names):
    repeated = [name for i, name in enumerate(names) if name in names[:i]]
    if not repeated:
        assert Ids.distinct(names, where="toy") == tuple(names)
        return
    with pytest.raises(DatasetError, match=f"^toy: id '{repeated[0]}' stands twice"):
        Ids.distinct(iter(names), where="toy")
    with pytest.raises(DatasetError, match=f"'{repeated[0]}' stands twice"):
        Ids.distinct(Ids(names), where="toy")


def test_unknown_ids_are_counted_and_the_first_is_named_with_the_closest():
    ids = Ids(["img1", "img2"])
    with pytest.raises(AlignmentError, match="ids: no id 'imh1'; did you mean 'img1'"):
        ids.positions(["img2", "imh1"])
    with pytest.raises(DatasetError, match=r"toy: no query 'x'.* \(2 of 3 are unknown\)"):
        ids.positions(iter(["x", "img1", "y"]), where="toy", what="query", error=DatasetError)


@given(NAMES, NAMES)
def test_the_hash_tells_lists_of_strings_apart(names, others):
    assert (hash_strings(names) == hash_strings(others)) == (names == others)
    assert Ids(names).sha256 == hash_strings(names)


def test_the_hash_is_of_each_string_after_its_length():
    """Stored hashes are compared with it: it must never change."""
    assert hash_strings(["ab", "c"]) != hash_strings(["a", "bc"])
    by_hand = b"\x02" + bytes(7) + "é".encode() + b"\x01" + bytes(7) + b"c"
    assert hash_strings(["é", "c"]) == hashlib.sha256(by_hand).hexdigest()


def test_ids_that_no_table_can_hold_are_refused():
    for name, said in (("a\ud800", "half of a surrogate pair"), ("x" * 5000, "got 5,000")):
        with pytest.raises(DatasetError, match=f"toy: .*{said}") as caught:
            Ids.distinct(["good", name], where="toy")
        assert len(str(caught.value)) < 200
    assert Ids.distinct(["x" * LONGEST_ID, "\U0001f600"], where="toy").unusable is None
