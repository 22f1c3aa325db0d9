"""The ablation page is what its command writes from the stored results, and measuring resumes."""

import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dafm_core.evaluation.crossfit import fit_and_evaluate
from dafm_core.evaluation.design import Folds
from dafm_core.fusion.light.fuser import LightFusion

FOLDER = Path(__file__).parent / "ablation"
PAGE = Path(__file__).parents[2] / "docs/explanation/ablation.md"


@pytest.fixture(scope="module")
def ablation():
    return runpy.run_path(str(FOLDER), run_name="ablation")


def without_bounds(text):
    """Leave bounds of intervals out: their last digit may follow the version of NumPy."""
    return re.sub(r"\[[-+]\d+\.\d+, [-+]\d+\.\d+\]", "[]", text)


def test_the_page_is_as_its_command_writes_it(ablation, tmp_path):
    ablation["write_page"](FOLDER, tmp_path)
    written = (tmp_path / "ablation.md").read_text()
    assert without_bounds(written) == without_bounds(PAGE.read_text())
    chart = (tmp_path / "frontier.svg").read_text()
    assert all(f">{label}<" in chart for label in ("gallery", "0.1", "0.3", "3", "subset"))


def test_everything_has_been_measured(ablation):
    """On real queries; scenes has no foreign queries."""
    results = ablation["Results"].read(FOLDER / "cirr.npz")
    missing = [s.key for _, part in results.sections() for s in part if results.values(s) is None]
    assert not missing


def test_measuring_stores_what_a_cross_fitting_gives_and_goes_on_where_it_stopped(
    ablation, make_problem, tmp_path, capsys
):
    _, stack = make_problem(n_queries=40)
    results = ablation["Results"].read(tmp_path / "toy.npz")
    how = {"n_folds": 2, "bank": None, "only": "Objective (linear)"}
    results.measure(stack, **how)
    assert capsys.readouterr().out.count("toy") == 6
    again = ablation["Results"].read(tmp_path / "toy.npz")
    again.measure(stack, **how)
    assert not capsys.readouterr().out
    (first, *_) = dict(again.sections())["Objective (linear)"]
    expected = fit_and_evaluate(
        LightFusion(network="linear"),
        stack,
        Folds(2).parts(stack),
        metrics=["recall@1", "recall@5", "recall@10", "recall@50", "rsubset@1", "rmean"],
    )[0].per_query
    np.testing.assert_allclose(again.values(first), expected, atol=1e-6)


def test_what_another_section_has_measured_is_taken_over_and_stored(
    ablation, make_problem, tmp_path, monkeypatch
):
    _, stack = make_problem(n_queries=40)
    results = ablation["Results"].read(tmp_path / "toy.npz")
    module = sys.modules[type(results).__module__]
    first = next(s for s in module.settings(stack.names) if s.section == "Objective (linear)")
    twin = replace(first, section="Candidates", name="the same")
    monkeypatch.setattr(module, "settings", lambda _: iter([first, twin]))
    results.measure(stack, n_folds=2, bank=None, only=None)
    again = ablation["Results"].read(tmp_path / "toy.npz")
    np.testing.assert_array_equal(again.values(twin), again.values(first))


def test_every_configuration_is_one_that_its_fuser_takes(ablation):
    """What is stored was measured long ago; the options must still mean something."""
    results = ablation["Results"].read(FOLDER / "cirr.npz")
    for _, members in results.sections():
        for setting in members:
            fuser = setting.make(**setting.options)
            assert fuser.params().items() >= setting.options.items(), setting.key


def test_one_more_provider_of_noise_keeps_the_others_and_the_neighbours(ablation, make_problem):
    _, stack = make_problem(n_queries=8)
    near = np.zeros((stack.n_gallery, 2), np.int32)
    stack = replace(stack, gallery=replace(stack.gallery, neighbours={"model-0": near}))
    results = ablation["Results"]
    module = sys.modules[sys.modules[results.__module__].Setting.__module__]
    noisy = module.with_noise(stack)
    assert noisy.names == (*stack.names, "noise")
    np.testing.assert_array_equal(noisy.tile(0, 8)[:, :3], stack.tile(0, 8))
    assert noisy.gallery.neighbours.keys() == {"model-0"}
