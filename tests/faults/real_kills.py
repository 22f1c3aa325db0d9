"""Run as a program: kill real processes while they score, each at another executed line.

    python real_kills.py FOLDER EVERY

Process ``n`` scores into ``FOLDER/n`` and ends with ``os._exit`` before line ``n * EVERY`` of the
code that writes, counted as it is executed; the last one is not killed. Processes are forked from
one that has imported everything, and has not used polars, whose threads would not survive it.
"""

import os
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np

from dafm_core.datasets.base import Dataset
from dafm_core.datasets.query_frame import query_frame
from dafm_core.scoring.score import score_provider
from tests.faults.killing import HOME, WRITING

N_QUERIES, N_GALLERY = 7, 5


class Rows:
    """A provider whose scores are drawn from the text."""

    fingerprint = MappingProxyType({"seed": "0"})

    def similarity(self, queries, gallery):
        """Return (n_queries, n_gallery) scores."""
        draws = [np.random.default_rng(list(query.text.encode())) for query in queries]
        return np.stack([draw.standard_normal(len(gallery)) for draw in draws])


def make_dataset():
    """Return seven queries over five candidates."""
    rows = [
        {"query_id": f"q{i}", "reference": "i0", "text": f"text {i}", "targets": ["i1"]}
        for i in range(N_QUERIES)
    ]
    return Dataset(
        protocol="toy-val",
        gallery_ids=tuple(f"i{j}" for j in range(N_GALLERY)),
        queries=query_frame(rows, where="toy"),
    )


def run(store):
    """Score a small dataset."""
    score_provider(make_dataset(), "rows", Rows(), store=store, block_rows=3)


def run_killed(store, line):
    """Score in this process, which ends at the given line."""
    left = line

    def trace(frame, event, argument):
        nonlocal left
        if event == "call":
            name = frame.f_code.co_filename
            watched = name.startswith(str(HOME)) and name[len(str(HOME)) + 1 :].startswith(WRITING)
            return trace if watched else None
        if event == "line":
            left -= 1
            if left < 0:
                os._exit(9)
        return trace

    sys.settrace(trace)
    run(store)
    sys.settrace(None)


if __name__ == "__main__":
    folder, every = Path(sys.argv[1]), int(sys.argv[2])
    number, code = 0, 9
    while code == 9:
        process = os.fork()
        if process == 0:
            run_killed(folder / str(number) / "store", number * every)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        number += 1
    sys.exit(code)
