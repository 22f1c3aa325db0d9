"""Weights learned on other worlds; what the synthetic store of strong models is; agreement."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from dafm_core.evaluation.evaluate import evaluate_providers
from dafm_core.metrics.families import HEADS
from tests.benchmarks.agreement import cases
from tests.benchmarks.worlds import FORMS, VIEWS, learned, without

STRONG = runpy.run_path(str(Path(__file__).parent / "strong.py"), run_name="strong")


@pytest.fixture(scope="module")
def stack(make_problem):
    return make_problem(n_queries=60, n_gallery=40)[1]


def test_a_world_is_left_out_with_its_kin(stack):
    found = learned(stack)
    assert found.keys() == FORMS.keys()
    for by_head in found.values():
        for head in HEADS:
            assert sum(by_head[head][name] for name in VIEWS) == pytest.approx(3)
    one = {head: dict.fromkeys(VIEWS, 1.0) | {"neighbours": 2.0} for head in HEADS}
    other = {head: dict.fromkeys(VIEWS, 1.0) | {"neighbours": 4.0} for head in HEADS}
    worlds = {"a": {"f": one}, "a-2": {"f": one}, "b": {"f": other}, "c": {"f": one}}
    assert without(worlds, "a", "f")["gallery"]["neighbours"] == 3.0
    assert without(worlds, "b", "f")["gallery"]["neighbours"] == 2.0
    with pytest.raises(ValueError, match="expected other worlds"):
        without({"a": {"f": one}, "a-2": {"f": one}}, "a", "f")


def test_strong_models_are_strong_and_named_for_what_they_are(stack, tmp_path):
    store = STRONG["write"](stack, tmp_path / "strong")
    assert store.protocol == "synthetic-strong-toy-val"
    strong = evaluate_providers(store.stack())
    assert min(e.values["recall@1"] for e in strong.values()) > 0.6
    again = STRONG["write"](stack, tmp_path / "again").stack()
    np.testing.assert_array_equal(again.tile(0, 60), store.stack().tile(0, 60))


def test_each_case_adds_providers_to_those_that_are_there(stack):
    counts = [make().n_providers for make in cases(stack).values()]
    assert counts == [3, 4, 7, 4, 6]
