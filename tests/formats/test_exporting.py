"""What is exported scores as the fusion does, without dafm."""

import importlib.util
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

import dafm_core as dafm
from dafm_core.cli.main import main
from dafm_core.errors import FuserError
from dafm_core.formats.exporting import export_numpy, layout_of
from dafm_core.formats.onnx import export_onnx


@pytest.mark.parametrize("network", ["residual", "linear"])
def test_the_exported_function_gives_the_scores_of_the_fusion(network, make_problem, tmp_path):
    _, stack = make_problem(n_queries=400, n_gallery=30)
    fuser = dafm.LightFusion(network=network, n_seeds=1, n_epochs=2).fit(stack)
    assert fuser.n_networks_ == (network == "residual")
    folder = export_numpy(fuser, tmp_path / "out")
    spec = importlib.util.spec_from_file_location("exported_score", folder / "score.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    weights = dict(np.load(folder / "weights.npz", allow_pickle=False))
    tile = stack.tile(0, 9)
    view = fuser._reader(stack.gallery, fuser.families_).read(tile)
    got = module.score(view.channels(), view.context(), weights)
    expected = fuser.scorer(stack)(tile)
    kept = np.isfinite(expected)
    np.testing.assert_allclose(got[kept], expected[kept], rtol=1e-5, atol=1e-5)
    export_onnx(fuser, tmp_path / "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "fusion.onnx")
    given = {"channels": view.channels(), "context": view.context()}
    wanted = {put.name for put in session.get_inputs()}
    (graph,) = session.run(None, {name: given[name] for name in wanted})
    np.testing.assert_allclose(graph[kept], expected[kept], rtol=1e-5, atol=1e-5)
    names = (folder / "channels.txt").read_text().split()
    assert len(names) == layout_of(fuser).n_channels == len(weights["linear"])


def test_what_is_exported_needs_no_dafm(make_problem, tmp_path):
    _, stack = make_problem()
    export_numpy(dafm.LightFusion(network="linear").fit(stack), tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", "score.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "rows:model-0" in done.stdout
    assert "dafm_core" not in (tmp_path / "score.py").read_text()


def test_rules_have_no_weights_of_channels(make_problem, tmp_path, capsys):
    _, stack = make_problem()
    with pytest.raises(FuserError, match="expected a fitted LightFusion, got MeanFusion"):
        export_numpy(dafm.MeanFusion().fit(stack), tmp_path)
    dafm.save_fuser(dafm.MeanFusion().fit(stack), tmp_path / "mean")
    assert (
        main(["export", str(tmp_path / "mean"), "--to", "onnx", "--out", str(tmp_path / "out")])
        == 2
    )
    assert "expected a fitted LightFusion" in capsys.readouterr().err
    dafm.save_fuser(dafm.LightFusion(network="linear").fit(stack), tmp_path / "light")
    for form in ("numpy", "onnx"):
        out = ["--to", form, "--out", str(tmp_path / form)]
        assert main(["export", str(tmp_path / "light"), *out]) == 0
        assert form in capsys.readouterr().out
        assert "fused" in (tmp_path / form / "README.md").read_text()
