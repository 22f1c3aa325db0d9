"""Importing dafm_core does nothing but define names."""

import subprocess
import sys

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


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_changes_nothing_and_loads_nothing_heavy():
    result = run(QUIET)
    assert result.returncode == 0, result.stderr


def test_comparing_static_rules_needs_neither_torch_nor_scikit_learn():
    result = run(EVALUATING)
    assert result.returncode == 0, result.stderr
