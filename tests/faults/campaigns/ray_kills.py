"""Processes killed while Ray scores: a worker in the middle of a block, or who asked for it all.

Run as a program it is the one who asks: ``python -m tests.faults.campaigns.ray_kills STORE BLOCK``
scores with Ray, and the worker that has block number BLOCK kills itself, once.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.faults.campaigns.outcome import Outcome
from tests.faults.killing import files_below
from tests.faults.real_kills import make_dataset

N_BLOCKS = 7
"""Each of one query."""


class Fatal:
    """A provider whose process is killed at one query, the first time that it is asked it."""

    def __init__(self, folder: Path, query: int) -> None:
        self.fingerprint = {"seed": "0"}
        self._mark = folder.with_name(f"{folder.name}.killed")
        self._query = query

    def similarity(self, queries, gallery):
        """Return (n_queries, n_gallery) scores."""
        if queries[0].id == f"q{self._query}" and not self._mark.exists():
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        draws = [np.random.default_rng(list(query.text.encode())) for query in queries]
        return np.stack([draw.standard_normal(len(gallery)) for draw in draws])


def run(store: Path, block: int) -> None:
    """Score with Ray, one query a block."""
    from dafm_core.scoring.executors import load_executor
    from dafm_core.scoring.score import score_provider

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    score_provider(
        make_dataset(),
        "rows",
        Fatal(store, block),
        store=store,
        block_rows=1,
        executor=load_executor("ray"),
    )


def ray_kills(home: Path, *, n_kills: int, seed: int = 0) -> Iterator[Outcome]:
    """Kill workers and askers in turn; nothing where Ray is not installed."""
    try:
        import ray  # noqa: F401
    except ImportError:
        return
    home.mkdir(parents=True)
    draw = random.Random(seed)
    workers = Outcome("score with Ray", "SIGKILL of a worker in the middle of a block")
    askers = Outcome("score with Ray", "SIGKILL of the process that asks, at random")
    _ask(home / "whole", -1)
    expected = files_below(home / "whole")
    for number in range(n_kills):
        store = home / f"store-{number}"
        if number % 2:
            done = _ask(store, draw.randrange(N_BLOCKS))
            outcome, where = workers, f"worker, {number}"
        else:
            done = _ask(store, -1, seconds=draw.uniform(3, 12))
            outcome, where = askers, f"asker, {number}"
        code, said = done
        if code not in (0, -signal.SIGKILL) and "dafm_core.errors." not in said:
            outcome.add("tracebacks", f"{where}: {said[-300:]}")
            continue
        for _ in range(3):  # a busy machine may not start Ray in time, which it says
            code, said = _ask(store, -1)
            if "no cluster could be started" not in said:
                break
        found = files_below(store) if store.exists() else {}
        outcome.add("survived" if found == expected else "lost", f"{where}: {said[-300:]}")
    yield from (workers, askers)


def _ask(store: Path, block: int, seconds: float | None = None) -> tuple[int, str]:
    """Run this file as a program, killed after so many seconds; return code and standard error."""
    command = [sys.executable, "-m", "tests.faults.campaigns.ray_kills", str(store), str(block)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
    return process.returncode, said.decode(errors="replace")


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
