"""A run is found by id, whatever its ids came as."""

import numpy as np

from dafm_core.store.run import Run


def test_ids_may_be_given_as_any_sequence():
    run = Run("r", ["q1", "q0"], ("a", "b", "c"), np.zeros((2, 3), np.float32))
    assert (run.query_ids, run.gallery_ids) == (("q1", "q0"), ("a", "b", "c"))
    assert run.query_ids.positions(["q0"]).tolist() == [1]
    assert run.gallery_ids.positions(["c", "a"]).tolist() == [2, 0]
    assert run.fitted_query_ids == frozenset()
