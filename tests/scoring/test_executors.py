"""Ray gives the bytes that scoring here gives, and a provider's error as itself."""

import subprocess
import sys

import pytest

from dafm_core.errors import OptionError
from dafm_core.scoring.executors import load_executor

SCRIPT = """
import os, sys
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
from pathlib import Path
import numpy as np
from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.errors import ProviderError
from dafm_core.scoring.executors import load_executor
from dafm_core.scoring.pairs import score_pairs
from dafm_core.scoring.score import score_provider
from dafm_core.scoring.shortlists import shortlist_of
from dafm_core.store.store import SimilarityStore

class Provider:
    def similarity(self, queries, gallery):
        if any(q.text == "bad" for q in queries):
            raise ValueError("cannot read this")
        return np.array([[len(q.text) + 0.1 * ord(i.id) for i in gallery] for q in queries], "f4")

def make(texts):
    rows = [{"query_id": str(n), "reference": "a", "text": t} for n, t in enumerate(texts)]
    return Dataset(protocol="toy", gallery_ids=("a", "b"), queries=query_frame(rows, where="toy"))

out, ray = Path(sys.argv[1]), load_executor("ray")
good = make(["x" * n for n in range(7)])
for name, executor in (("ray", ray), ("local", load_executor("local"))):
    score_provider(good, "p", Provider(), store=out / name, block_rows=2, executor=executor)
for file in ("scores.npy", "passport.json"):
    assert (out / "ray/p" / file).read_bytes() == (out / "local/p" / file).read_bytes()
try:
    score_provider(make(["x", "bad"]), "p", Provider(), store=out / "bad", executor=ray)
except ProviderError as error:
    assert "ValueError: cannot read this" in str(error), error
else:
    raise AssertionError("no error")
assert not (out / "bad").exists()

class Hanging:
    def similarity(self, queries, gallery):
        if len(queries[0].text) > 2:
            import time
            time.sleep(3600)
        return Provider().similarity(queries, gallery)

limited = load_executor("ray", seconds=3)
try:
    score_provider(good, "h", Hanging(), store=out / "h", block_rows=1, executor=limited)
except ProviderError as error:
    assert "blocks came back within 3 s. Finished blocks are kept" in str(error), error
else:
    raise AssertionError("no error")
log = (out / "h" / "h" / "scores.progress.jsonl").read_text()
assert 1 < len(log.splitlines()) <= 4, log  # what is scored, and up to three blocks

class Verifier:
    def score_pairs(self, queries, candidates):
        return [[ord(i.id) + len(q.text) for i in images] for q, images in zip(queries, candidates)]

lists = shortlist_of(SimilarityStore.open(out / "ray"), "provider:p:1", name="v")
for name in ("ray", "local"):
    run = load_executor(name)
    score_pairs(good, "v", Verifier(), store=out / name, candidates=lists, executor=run)
for file in ("shortlist.parquet", "passport.json"):
    assert (out / "ray/v" / file).read_bytes() == (out / "local/v" / file).read_bytes()
"""


def test_ray_gives_the_same_bytes_and_errors(tmp_path):
    pytest.importorskip("ray", reason="Ray is the extra dafm-core[ray]; make test installs it")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


def test_an_unknown_executor_offers_the_closest():
    with pytest.raises(OptionError, match="did you mean 'local'"):
        load_executor("loacl")
