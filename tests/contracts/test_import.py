"""Importing dafm_core does nothing but define names."""

import subprocess
import sys

import numpy as np

from dafm_core import LightFusion, save_fuser

QUIET = """
import logging, os, random, sys, warnings
before = (list(logging.root.handlers), dict(os.environ), random.getstate(), list(warnings.filters))
import dafm_core
import dafm_core.cli.main
after = (list(logging.root.handlers), dict(os.environ), random.getstate(), list(warnings.filters))
assert before == after
heavy = {"numpy", "torch", "sklearn", "polars", "rich", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""

EVALUATING = """
import sys
from dafm_core import Run, SimilarityStack, compare, evaluate, score
from dafm_core import MeanFusion, VotingFusion, WeightedFusion
heavy = {"torch", "sklearn", "transformers", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def run(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_importing_changes_nothing_and_loads_nothing_heavy():
    result = run(QUIET)
    assert result.returncode == 0, result.stderr


def test_comparing_static_rules_needs_neither_torch_nor_scikit_learn():
    result = run(EVALUATING)
    assert result.returncode == 0, result.stderr


SERVING = """
import sys
import numpy as np
from dafm_core import Gallery, load_fuser
from dafm_core.ground.ids import Ids
light = load_fuser(sys.argv[1])
gallery = Gallery(names=light.record_.providers, ids=Ids(f"img{i}" for i in range(40)))
scores = light.scorer(gallery)(np.load(sys.argv[2]))
np.save(sys.argv[3], scores)
heavy = {"torch", "sklearn", "transformers", "matplotlib", "lightgbm"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_saved_light_fusion_answers_live_queries_without_torch(make_problem, tmp_path):
    _, stack = make_problem(n_queries=240)
    light = LightFusion(n_seeds=1, n_epochs=2).fit(stack)
    assert light.n_networks_ == 1
    save_fuser(light, tmp_path / "light")
    np.save(tmp_path / "tile.npy", stack.tile(3, 4))
    files = [str(tmp_path / name) for name in ("light", "tile.npy", "scores.npy")]
    result = run(SERVING, *files)
    assert result.returncode == 0, result.stderr
    expected = light.fuse(stack.take_queries([stack.query_ids[3]])).scores
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), expected, rtol=1e-5, atol=1e-5)
