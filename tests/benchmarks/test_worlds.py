"""Weights learned on other worlds; what worlds that are made are; agreement."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dafm_core.evaluation.evaluate import evaluate_providers
from dafm_core.metrics.families import HEADS
from tests.benchmarks.agreement import cases
from tests.benchmarks.worlds import FORMS, VIEWS, learned, of_all, together, without

STRONG, FASHIONIQ = (
    runpy.run_path(str(Path(__file__).parent / f"{name}.py"), run_name=name)
    for name in ("strong", "fashioniq_text")
)


@pytest.fixture(scope="module")
def stack(make_problem):
    return make_problem(n_queries=60, n_gallery=40)[1]


def test_a_world_is_left_out_with_its_kin(stack):
    found = learned(of_all(stack))
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


def test_a_world_without_subsets_says_nothing_of_them(stack):
    queries = stack.dataset.queries.with_columns(
        subset=stack.dataset.queries["excluded"].list.head(0)
    )
    plain = replace(stack, dataset=replace(stack.dataset, queries=queries, metrics=("recall@1",)))
    found = learned(of_all(plain))
    assert all(by_head.keys() == {"gallery"} for by_head in found.values())
    other = {head: dict.fromkeys(VIEWS, 1.0) for head in HEADS}
    worlds = {"a": {"f": other}, "b": {"f": found["four numbers"]}, "c": {"f": other}}
    assert without(worlds, "c", "f")["subset"] == other["subset"]


def test_what_is_fitted_on_two_worlds_at_once_lies_between_what_each_says(stack):
    rng = np.random.default_rng(0)
    near = np.stack([rng.choice(np.delete(np.arange(40), i), 8, replace=False) for i in range(40)])
    gallery = replace(stack.gallery, neighbours={"model-0": near.astype(np.int32)})
    examples = of_all(replace(stack, gallery=gallery))
    nowhere = examples.layout.families.index("neighbours")
    clear = examples.channels.copy()
    clear[np.arange(len(examples)), nowhere, examples.target] += 2.0
    worlds = [examples, replace(examples, channels=clear)]
    noise, sign, both, twice = (
        together(some)["gallery"]["neighbours"]
        for some in (worlds[:1], worlds[1:], worlds, worlds[:1] * 2)
    )
    assert noise < both < sign
    assert twice == pytest.approx(noise, abs=1e-3)


def test_of_two_captions_one_describes_and_the_other_asks():
    def pair(reference, target, *captions):
        return {"candidate": reference, "target": target, "captions": list(captions)}

    world = FASHIONIQ["make"](
        [
            pair("a", "b", "is red", "is longer"),
            pair("b", "c", "is blue", "Is  Blue."),  # nothing to tell request and description by
            pair("b", "d", "is green", "has dots"),
            pair("nowhere", "c", "is navy", "is dark"),  # nobody describes its reference
            pair("d", "e", " ", "is short"),  # nobody describes its target
            pair("d", "b", "is pink", "is bright"),
        ],
        name="dress-toy",
    )
    assert world.captions == {
        "b": ["is red", "is pink"],
        "c": ["is blue", "is navy"],
        "d": ["is green"],
    }
    asked = [(q["query_id"], q["reference"], q["text"], q["targets"]) for q in world.queries]
    assert asked == [
        ("dress-toy-2", "b", "has dots", ["d"]),
        ("dress-toy-5", "d", "is bright", ["b"]),
    ]
    assert len({query["group"] for query in world.queries}) == 1
    assert all(query["excluded"] == [query["reference"]] for query in world.queries)


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
