"""The label-free benchmark scores as `debiased` does, and corrections do what they say."""

from dataclasses import replace

import numpy as np
import pytest

from dafm_core.evaluation.crossfit import fit_and_evaluate
from dafm_core.evaluation.design import Folds
from dafm_core.fusion.debiased import DebiasedFusion
from tests.benchmarks.corrections import inverted_softmax, nearest, sinkhorn
from tests.benchmarks.label_free import METRICS, Shared, compared, measure, table


@pytest.fixture(scope="module")
def stack(make_problem):
    dataset, stack = make_problem(n_queries=40, n_gallery=30)
    rng = np.random.default_rng(0)
    near = np.stack([rng.choice(np.delete(np.arange(30), i), 8, replace=False) for i in range(30)])
    gallery = replace(stack.gallery, neighbours={"model-0": near.astype(np.int32)})
    metrics = (*dataset.metrics, "recall@10", "recall@50", "rmean")
    return replace(stack, gallery=gallery, dataset=replace(dataset, metrics=metrics))


def test_the_first_row_is_what_the_fuser_reaches(stack):
    found = measure(stack, {"debiased": Shared.debiased()}, partitions=[0], n_folds=3)
    parts = Folds(3, seed=0).parts(stack)
    expected = fit_and_evaluate(DebiasedFusion(), stack, parts, metrics=METRICS)[0].per_query
    np.testing.assert_allclose(found["debiased"], expected, atol=1e-9)


def test_every_correction_has_a_row(stack):
    values = compared(stack, None, [0])
    lines = list(table(values, stack.dataset.groups))
    assert len(lines) == 2 + len(values) == 9
    assert [line.split(" | ")[0].strip("| ").split(" (")[0] for line in lines[4:]] == [
        "CSLS",
        "inverted softmax",
        "NNN",
        "QB-Norm, dynamic",
        "dual-bank Sinkhorn",
    ]


def test_corrections_take_off_what_a_hub_has_too_much():
    rng = np.random.default_rng(0)
    bank = rng.normal(size=(50, 2, 8)).astype(np.float32)
    bank[:, :, 3] += 4
    for offsets in (
        nearest(bank, k=10, share=1.0),
        inverted_softmax(bank, sharpness=1.0),
        sinkhorn(bank, sharpness=1.0),
    ):
        assert (offsets.argmax(axis=1) == 3).all()
        extra = offsets[:, 3] - np.delete(offsets, 3, axis=1).mean(axis=1)
        np.testing.assert_allclose(extra, 4, atol=1)


def test_balanced_columns_are_asked_for_alike():
    bank = np.random.default_rng(0).normal(size=(60, 1, 5)).astype(np.float32)
    logits = bank[:, 0] - sinkhorn(bank, sharpness=1.0, n_steps=50)[0]
    chance = np.exp(logits - logits.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(chance.sum(axis=0), 12, rtol=1e-3)
