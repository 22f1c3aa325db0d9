"""``python -m tests.faults.campaigns.soak``: score, train, compare, again and again.

Ends with code 1 if memory at the end is more than 5 % above what it was after a tenth of the
cycles, or if a handle is left open.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

from dafm_core.cli.main import main as dafm
from tests.faults.campaigns.actions import score


def resident_mib() -> float:
    """Return the memory of this process that is in use, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def n_handles() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def cycle(home: Path) -> None:
    """Score two providers into a new store, train on it, and compare."""
    shutil.rmtree(home / "store", ignore_errors=True)
    score(home / "store")
    score(home / "store", name="other", seed=1)
    store, model, page = (str(home / name) for name in ("store", "model", "page.html"))
    compare = ["compare", store, "--fusers", "mean,weighted", "--folds", "2", "--resamples", "200"]
    for command in (["train", store, "--fuser", "weighted", "--out", model], compare):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            if dafm([*command, *(["--report", page] if command is compare else [])]):
                raise RuntimeError(f"{command[0]} failed")


def main() -> int:
    """Run the cycles; print memory and handles now and then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=200)
    args = parser.parse_args()
    first = max(1, args.cycles // 10)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DAFM_CACHE"] = str(Path(folder) / "cache")
        for number in range(1, args.cycles + 1):
            cycle(Path(folder))
            if number == first:
                memory, handles = resident_mib(), n_handles()
            if number % first == 0:
                print(f"{number} cycles: {resident_mib():.1f} MiB, {n_handles()} handles")
        grown = resident_mib() / memory - 1
    print(f"from {first} to {args.cycles} cycles: memory {100 * grown:+.1f} %")
    return int(grown > 0.05 or n_handles() > handles)


if __name__ == "__main__":
    sys.exit(main())
