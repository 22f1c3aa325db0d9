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
from dafm_core.evaluation.evaluate import evaluate, evaluate_providers
from dafm_core.fusion.channels.examples import make_examples
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


def test_every_setting_is_measured_and_one_that_is_not_is_named(ablation):
    """On real queries, by this version or by an older one."""
    new, older = (ablation["Results"].read(f / "cirr.npz") for f in (FOLDER, FOLDER / "older"))
    for _, members in new.sections():
        assert all(new.n_measured(setting) or older.n_measured(setting) for setting in members)
    assert "Not measured on cirr" not in PAGE.read_text()
    (place,) = (setting.key for _, m in new.sections() for setting in m if "greedy" in setting.name)
    del new.arrays[f"values.{place}"]
    text = ablation["page"]("", [new], [older], {})
    assert "Not measured on cirr: Peers, greedy selection, same inputs." in text


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
        LightFusion(network="linear", objective="weighted"),
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
    results = ablation["Results"].read(FOLDER / "older/cirr.npz")
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


@pytest.mark.parametrize(
    "name", ["GreedySelection", "IsotonicSum", "PredictedWeights", "CandidateWeights"]
)
def test_peers_from_elsewhere_beat_their_best_provider(ablation, make_problem, name):
    """Three providers whose errors are independent: whoever learns anything is ahead of each."""
    assert ablation["Results"]  # its folder has been on the path
    _, stack = make_problem(n_queries=160, n_gallery=40, noise=(1.5, 1.5, 2.0))
    train, test = stack.split(test_size=0.5)
    made = getattr(sys.modules["stackers"], name)().fit(train)
    single = max(e.values["recall@1"] for e in evaluate_providers(test).values())
    assert evaluate(made, test).values["recall@1"] > single
    if name == "IsotonicSum":
        curves = made.learned_.arrays["curves"]
        assert (np.diff(curves, axis=2) >= 0).all()
    if name == "GreedySelection":
        assert made.learned_.arrays["weights"].sum() == pytest.approx(1)


def test_ranks_in_a_sample_are_those_of_the_gallery(ablation, make_problem):
    """Exactly, where every candidate is in it; a candidate that stands for more counts so."""
    estimated = sys.modules["stackers"].estimated_ranks
    _, stack = make_problem(n_queries=12, n_gallery=20)
    examples = make_examples(stack, ("rows",), n_hard=5, n_uniform=20, seed=0)
    ranks = estimated(examples.channels[:, 0], examples)
    expected = stack.single_places["model-0"].gallery.greater + 1
    np.testing.assert_allclose(ranks, expected)
    doubled = replace(examples, log_weight=examples.log_weight + np.log(2).astype(np.float32))
    np.testing.assert_allclose(
        estimated(doubled.channels[:, 0], doubled), 2 * expected - 1, rtol=1e-5
    )
