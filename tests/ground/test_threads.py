"""A fit gives the same bits however many threads there are."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.ground.threads import one_blas_thread, one_torch_thread


def n_blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_one_thread_inside_and_as_before_outside():
    torch_before, blas_before = torch.get_num_threads(), n_blas_threads()
    with one_torch_thread(), one_blas_thread():
        assert torch.get_num_threads() == 1
        assert set(n_blas_threads()) <= {1}
    assert (torch.get_num_threads(), n_blas_threads()) == (torch_before, blas_before)


@pytest.fixture
def threads():
    """Return a function that sets the number of torch's threads; it is as before afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_number_of_threads_changes_no_bit(make_problem, threads):
    _, stack = make_problem(n_queries=120, n_gallery=150)
    scores = []
    for n_threads in (1, 2, 4):
        threads(n_threads)
        with threadpool_limits(n_threads, user_api="blas"):
            fuser = LightFusion(seed=0, network="residual", n_epochs=2).fit(stack)
        scores.append(fuser.fuse(stack).scores)
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])
