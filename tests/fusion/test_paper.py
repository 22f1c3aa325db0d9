"""The paper's network as a fuser: as printed, order of the gallery and all."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dafm_core.errors import AlignmentError, OptionError
from dafm_core.fusion.channels.examples import make_examples
from dafm_core.fusion.light.network import PaperNetwork
from dafm_core.fusion.light.options import LossWeights, PaperOptions
from dafm_core.fusion.light.training import Batch, infonce
from dafm_core.fusion.paper import PaperFusion
from dafm_core.fusion.saving import load_fuser, save_fuser
from dafm_core.ground.normalize import minmax_rows
from dafm_core.store.stack import SimilarityStack


@pytest.fixture(scope="module")
def stack(make_problem):
    return make_problem(n_queries=120, n_gallery=60)[1]


@pytest.fixture(scope="module")
def fitted(stack):
    return PaperFusion().fit(stack)


def test_options_are_as_printed():
    options = PaperOptions()
    training = options.training
    printed = (training.batch_size, training.learning_rate, training.temperature, training.n_epochs)
    assert printed == (512, 2e-3, 0.02, 4)
    assert training.temperature_rule == "paper"
    assert options.n_hidden == 16
    assert options.n_steps == 4 * math.ceil(28_225 / 512) == 224


@pytest.mark.parametrize(("n_examples", "n_epochs"), [(28_225, 4), (2_000, 56), (120, 224)])
def test_few_examples_are_seen_more_often_so_that_the_steps_are_the_papers(n_examples, n_epochs):
    assert PaperOptions().training_on(n_examples).n_epochs == n_epochs
    assert PaperOptions.of({"n_steps": 0}).training_on(n_examples).n_epochs == 4


@pytest.mark.parametrize("batch_size", [512, 50])
def test_it_takes_the_steps_asked_for_and_no_more(stack, batch_size):
    fitted = PaperFusion(n_steps=10, batch_size=batch_size).fit(stack)
    assert len(fitted.history_[0]) == 10
    by_epochs = PaperFusion(n_steps=0, n_epochs=2, batch_size=batch_size).fit(stack)
    assert [record["epoch"] for record in by_epochs.history_[0]][-1] == 2


def test_scores_are_the_network_of_min_max_rows(fitted, stack):
    tile = stack.tile(0, 9)
    kept = np.isfinite(tile)
    scaled = np.where(kept, minmax_rows(tile), 0)
    with torch.inference_mode():
        expected = fitted.network_(torch.from_numpy(scaled)).numpy()
    scores = fitted.fuse(stack.take_queries(stack.query_ids[:9])).scores
    np.testing.assert_allclose(scores, np.where(kept[:, 0], expected, -np.inf), atol=1e-5)


def test_it_trains_on_all_candidates_and_on_the_gallery_alone(fitted, stack):
    """With one batch an epoch, the first loss is that of the mean of its inputs, by hand."""
    everyone = make_examples(stack, ("minmax",), n_hard=1, n_uniform=60, seed=0, in_file_order=True)
    network = PaperNetwork(3, 16, generator=torch.Generator().manual_seed(0))
    batch = Batch.of(everyone)
    with torch.no_grad():
        logits = network(batch.channels) / 0.02
    in_order = PaperFusion(gallery_order="file", n_steps=1).fit(stack)
    first = infonce(logits, batch, LossWeights(1.0, 0.0)).item()
    assert in_order.history_[0][0]["loss"] == pytest.approx(first, rel=1e-4)
    assert {"epoch", "loss", "temperature"} == set(fitted.history_[0][0])
    assert [record["epoch"] for record in fitted.history_[0]] == list(range(1, 225))


def test_it_depends_on_the_order_of_the_gallery_and_says_so(fitted, stack, rng):
    order = rng.permutation(stack.n_gallery)
    shuffled = stack.take_gallery([stack.gallery_ids[j] for j in order])
    assert not np.allclose(fitted.fuse(shuffled).scores, fitted.fuse(stack).scores[:, order])
    assert PaperFusion.gallery_order_matters


def test_shuffling_takes_the_gallery_order_away_from_the_network(make_problem):
    """The target always stands right of a marked candidate: a filter learns that."""
    dataset, _ = make_problem(n_queries=200, n_gallery=60)
    rng = np.random.default_rng(0)
    rows = np.arange(dataset.n_queries)
    matrices = [rng.normal(size=(200, 60)).astype(np.float32) for _ in range(2)]
    target = dataset.targets.values
    matrices[0][rows, (target - 1) % 60] = 5.0
    stack = SimilarityStack.from_matrices(dict(zip("ab", matrices, strict=True)), dataset)
    losses = {}
    for order in ("file", "shuffled"):
        made = PaperFusion(
            gallery_order=order, n_steps=0, n_epochs=8, batch_size=32, learning_rate=5e-3
        )
        losses[order] = made.fit(stack).history_[0][-1]["loss"]
    assert losses["file"] < 0.5 * losses["shuffled"]


def test_order_of_training_is_an_option(stack):
    shuffled, in_order = (
        PaperFusion(gallery_order=order, n_steps=2).fit(stack).fuse(stack).scores
        for order in ("shuffled", "file")
    )
    assert not np.array_equal(shuffled, in_order)


def test_saving_keeps_every_bit(fitted, stack, tmp_path):
    again = load_fuser(save_fuser(fitted, tmp_path / "model"))
    np.testing.assert_array_equal(again.fuse(stack).scores, fitted.fuse(stack).scores)
    assert again.history_ == fitted.history_
    assert again.params() == fitted.params()
    assert again.record_ == fitted.record_


def test_it_cannot_do_without_a_provider_and_has_no_bank(fitted, stack):
    with pytest.raises(AlignmentError, match="expected providers model-0, model-1, model-2"):
        fitted.fuse(stack.select(["model-1"]))
    with pytest.raises(OptionError, match="PaperFusion: has no query bank"):
        fitted.with_bank(stack)


def test_neighbours_and_banks_change_nothing(fitted, stack):
    near = np.zeros((60, 3), np.int32)
    other = replace(stack, gallery=replace(stack.gallery, neighbours={"model-0": near}))
    np.testing.assert_array_equal(fitted.fuse(other).scores, fitted.fuse(stack).scores)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gallery_order": "shufled"}, r"no gallery_order 'shufled'; did you mean 'shuffled'\?"),
        ({"n_hidden": 0}, "expected n_hidden >= 1 and <= 4096, got 0"),
        ({"inputs": "rows"}, "PaperFusion: unknown option 'inputs'"),
    ],
)
def test_options_are_checked_when_given(options, message):
    with pytest.raises(OptionError, match=message):
        PaperFusion(**options)
