"""A model that hangs, or raises what ends a thread, costs a search its own rows only."""

import threading
import time

import numpy as np
import pytest

from dafm_core.errors import OptionError, ProviderError
from dafm_core.search.calling import Caller
from dafm_core.search.requests import Request
from dafm_core.search.search import Search

from .conftest import models


class Gate:
    """Holds up a model's queries until it is opened."""

    def __init__(self, model):
        self.opened, self.entered = threading.Event(), threading.Event()
        self._encode = model.encode_queries
        model.encode_queries = self._held

    def _held(self, queries):
        self.entered.set()
        self.opened.wait(60)
        return self._encode(queries)


@pytest.mark.parametrize("explain", [True, False])
def test_a_model_that_hangs_is_left_out_until_it_returns(index, light, explain):
    held = models()
    gate = Gate(held["near"])
    search = Search(index, light, providers=held, timeout=0.2)
    request = Request(references=("img001",), text="red", k=5)
    try:
        for said in ("did not return within 0.2 s", "has not returned from an earlier query"):
            started = time.monotonic()
            answer = search.batch([request], explain=explain)[0]
            assert said in answer.left_out["near"]
            assert len(answer.hits) == 5
        assert time.monotonic() - started < 10, "the second query waits for nobody"
        assert search.late == ("near",)
    finally:
        gate.opened.set()
    while search.late:
        time.sleep(0.01)
    answer = search.batch([request], explain=explain)[0]
    assert not answer.left_out
    expected = Search(index, light, providers=models()).batch([request], explain=explain)[0]
    assert [hit.image_id for hit in answer.hits] == [hit.image_id for hit in expected.hits]


@pytest.mark.parametrize("seconds", [None, 30])
@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit, ValueError])
def test_what_a_model_raises_reaches_who_asks_and_ends_no_thread(seconds, error):
    caller = Caller("odd", seconds)
    found = []

    def fail():
        raise error("no")

    def ask():
        try:
            caller(fail)
        except Exception as caught:
            found.append(caught)
        found.append(caller(lambda: 7))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(30)
    assert found[1:] == [7]
    assert isinstance(found[0], ValueError if error is ValueError else ProviderError)


def test_many_threads_take_turns():
    caller, inside = Caller("one", 30), []

    def work():
        inside.append(1)
        assert len(inside) == 1
        time.sleep(0.001)
        inside.pop()
        return 1

    results = []
    threads = [threading.Thread(target=lambda: results.append(caller(work))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [1] * 20


@pytest.mark.parametrize("timeout", [0, -1, np.nan])
def test_a_limit_that_is_none(index, light, timeout):
    with pytest.raises(OptionError, match="expected timeout > 0"):
        Search(index, light, providers=models(), timeout=timeout)
