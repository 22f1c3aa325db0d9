"""The synthetic store holds models that disagree; the yardstick is the paper's network."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from dafm_core.evaluation.evaluate import evaluate_providers
from dafm_core.fusion.light.exact import ExactExamples, step_loss
from dafm_core.fusion.light.network import PaperNetwork
from dafm_core.store.stack import SimilarityStack

FOLDER = Path(__file__).parent / "speed"
SYNTHETIC = runpy.run_path(str(FOLDER / "synthetic.py"), run_name="synthetic")
OBVIOUS = runpy.run_path(str(FOLDER / "obvious.py"), run_name="obvious")


def test_the_synthetic_store_is_resumed_to_the_same_rows_and_no_model_is_perfect(tmp_path):
    sizes = {"n_queries": 300, "n_gallery": 60, "n_providers": 2, "dtype": "float32"}
    store = SYNTHETIC["write"](tmp_path / "store", **sizes)
    stack = store.stack()
    again = SYNTHETIC["write"](tmp_path / "again", **sizes).stack()
    np.testing.assert_array_equal(again.tile(0, 300), stack.tile(0, 300))
    recalls = [e.values["recall@1"] for e in evaluate_providers(stack).values()]
    assert all(0.3 < recall < 0.99 for recall in recalls)
    assert stack.gallery.neighbours["synthetic-0"].shape == (60, 8)


def test_a_step_of_the_yardstick_is_one_of_ours(tmp_path):
    """On queries that exclude nothing: there both see the same min-max scores."""
    stored = SYNTHETIC["write"](tmp_path / "store", n_queries=8, n_gallery=30, n_providers=2)
    matrices = {name: np.asarray(stored.matrix(name)) for name in stored.providers}
    none = pl.lit([], dtype=pl.List(pl.String)).alias("excluded")
    dataset = replace(stored.dataset, queries=stored.dataset.queries.with_columns(none))
    stack = SimilarityStack.from_matrices(matrices, dataset)
    ours = PaperNetwork(2, generator=torch.Generator().manual_seed(0))
    plain = OBVIOUS["ObviousNetwork"](2)
    parts = {"up": "light.up", "local": "light.local", "down": "light.down", "weigh": "weigh"}
    state = ours.state_dict()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            part, kind = name.split(".")
            parameter.copy_(state[f"{parts[part]}.{kind}"])
    rows = np.arange(8)
    scores = OBVIOUS["read"](list(stack.matrices), rows)
    targets = torch.from_numpy(stack.dataset.targets.values)
    logits = plain(scores) / 0.02
    expected = torch.nn.functional.cross_entropy(logits, targets)
    examples = ExactExamples(stack, stack.dataset.targets)
    loss = step_loss(ours, examples, rows, torch.tensor(0.02))
    assert loss == pytest.approx(expected.item(), rel=1e-5)
