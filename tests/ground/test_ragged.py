"""Ragged rows behave as a list of lists."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.ground.ragged import Ragged

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=5)


@given(ROWS)
def test_rows_come_back(rows):
    ragged = Ragged.from_rows(rows)
    assert [row.tolist() for row in ragged] == rows
    assert ragged.counts.tolist() == [len(row) for row in rows]
    cells = [(i, value) for i, row in enumerate(rows) for value in row]
    assert list(zip(ragged.rows.tolist(), ragged.values.tolist(), strict=True)) == cells


@given(ROWS, st.data())
def test_taking_and_relabelling_are_those_of_lists(rows, data):
    ragged = Ragged.from_rows(rows)
    wanted = data.draw(st.lists(st.integers(0, max(len(rows) - 1, 0)), max_size=4 * bool(rows)))
    assert [row.tolist() for row in ragged.take(wanted)] == [rows[i] for i in wanted]
    new = np.array(data.draw(st.lists(st.integers(-1, 5), min_size=10, max_size=10)))
    kept = [[int(new[v]) for v in row if new[v] >= 0] for row in rows]
    assert [row.tolist() for row in ragged.relabel(new)] == kept


@given(ROWS, st.data())
def test_a_part_is_a_slice_of_the_list_and_copies_no_value(rows, data):
    ragged = Ragged.from_rows(rows)
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    part = ragged.part(slice(start, stop))
    assert [row.tolist() for row in part] == rows[start:stop]
    assert part.offsets[0] == 0
    assert not part.values.size or np.shares_memory(part.values, ragged.values)


def test_ids_outside_the_index_are_left_out():
    ragged = Ragged.from_ids([["a", "z"], None, []], {"a": 3})
    assert [row.tolist() for row in ragged] == [[3], [], []]
    assert len(Ragged.empty(3)) == 3


@given(st.lists(st.tuples(*[st.lists(st.integers(0, 9), max_size=4)] * 2), max_size=5))
def test_rows_are_sets_to_each_other(pairs):
    ones, others = ([pair[i] for pair in pairs] for i in (0, 1))
    one, other = Ragged.from_rows(ones), Ragged.from_rows(others)
    without = [sorted(set(a) - set(b)) for a, b in pairs]
    assert [row.tolist() for row in one.without(other)] == without
    assert [row.tolist() for row in one.union(other)] == [sorted({*a, *b}) for a, b in pairs]
    kept = np.array([len(b) > 1 for b in others], bool)
    assert [row.tolist() for row in one.where(kept)] == [a if len(b) > 1 else [] for a, b in pairs]
    values = np.arange(len(pairs)) - 1
    assert one.holds(values).tolist() == [v in a for v, a in zip(values, ones, strict=True)]
