"""A result holds what it takes to do it again."""

import json

import numpy as np

from dafm_core.comparison.compare import compare
from dafm_core.evaluation.design import Folds
from dafm_core.evaluation.tuning import SelectedFusion
from dafm_core.fusion.logistic import LogisticFusion
from dafm_core.fusion.static import MeanFusion
from dafm_core.store.stack import SimilarityStack


def test_a_comparison_can_be_repeated_from_its_json(make_problem, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    dataset, plain = make_problem()
    matrices = {name: np.asarray(m) for name, m in zip(plain.names, plain.matrices, strict=True)}
    passports = {"model-0": {"source": "imported", "fingerprint": {"model": "m"}, "dtype": "x"}}
    stack = SimilarityStack.from_matrices(matrices, dataset, passports=passports)
    fusers = {
        "mean": MeanFusion(normalize="rank"),
        "chosen": SelectedFusion(candidates={"rows": LogisticFusion(inputs="rows")}),
    }
    found = compare(stack, fusers, design=Folds(2, seed=7), seed=3, n_resamples=99)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))["provenance"]
    assert (record["seed"], record["n_resamples"]) == (3, 99)
    assert record["threads"] == "3"
    assert "2 folds" in record["design"]
    assert "seed 7" in record["design"]
    said = record["providers"]["model-0"]
    assert len(said.pop("passport_sha256")) == 64
    assert said == {"source": "imported", "fingerprint": {"model": "m"}}
    assert record["data"]["queries_sha256"] == dataset.queries_sha256
    assert record["providers"].keys() == set(stack.names)
    assert record["versions"].keys() >= {"python", "dafm-core", "numpy"}
    again = MeanFusion(**record["fusers"]["mean"]["options"])
    assert again.params() == fusers["mean"].params()
    inner = record["fusers"]["chosen"]["options"]["candidates"]["rows"]
    assert LogisticFusion(**inner["options"]).params() == LogisticFusion(inputs="rows").params()
    assert found.provenance.typed(["compare", "a b"]).lines[0].endswith("dafm compare 'a b'")
    text = "\n".join(found.provenance.lines)
    for said in ("99 resamples", "seed 7", "rank", "imported"):
        assert said in text
