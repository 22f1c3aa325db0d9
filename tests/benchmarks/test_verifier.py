"""The toy verifier proves shortlists end to end: its row makes fusions better, and it says so."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from dafm_core.catalog import PluginCatalog
from dafm_core.evaluation.evaluate import evaluate_providers

SCRIPT = Path(__file__).parent / "verifier.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def store(script, tmp_path_factory):
    return script["prepare"](tmp_path_factory.mktemp("verifier") / "store", families=16, depth=50)


def test_the_verifiers_row_makes_a_fusion_better(script, store):
    stack = store.stack()
    assert store.cost("scenes-verifier")["calls_per_query"] == 50
    weighted = PluginCatalog.discover().load_fuser("weighted")
    gains = script["measure"](stack, "weighted", weighted)
    by_metric = {gain.metric: gain for gain in gains}
    assert by_metric["recall@5"].with_it > by_metric["recall@5"].without
    assert all(gain.low <= gain.with_it - gain.without <= gain.high for gain in gains)


def test_on_what_it_sees_it_is_better_than_any_other(store):
    """Among the candidates it was asked about, it puts the target first most often."""
    stack = store.stack()
    tile = stack.tile(0, stack.n_queries)
    v = stack.names.index("scenes-verifier")
    first = dict.fromkeys(stack.names, 0)
    for row, targets in enumerate(stack.dataset.targets):
        asked = np.isfinite(tile[row, v])
        if not asked[targets[0]]:
            continue
        for k, name in enumerate(stack.names):
            above = (tile[row, k, asked] > tile[row, k, targets[0]]).sum()
            first[name] += above == 0
    ours = first.pop("scenes-verifier")
    assert ours > 1.2 * max(first.values())


def test_alone_it_is_no_ranking_of_the_gallery(store):
    alone = evaluate_providers(store.stack())["scenes-verifier"]
    assert np.isnan(alone.values["recall@10"])
    assert alone.to_json()["metrics"]["recall@10"] is None
    assert 0 < alone.undecided["recall@10"] <= 1


def test_the_script_prints_intervals(script, capsys, monkeypatch):
    script["main"](["--families", "6", "--depth", "10", "--fusers", "mean"])
    lines = capsys.readouterr().out.splitlines()
    assert "42 queries x 36 images, 10 calls a query" in lines[0]
    assert len(lines) == 2 + len(script["METRICS"])
    assert all("[" in line and "]" in line for line in lines[2:])
