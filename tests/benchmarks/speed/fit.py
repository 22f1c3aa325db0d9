"""What fitting the default LightFusion costs: CPU time by part, and memory that no file backs.

    python -m tests.benchmarks.speed.fit STORE [--queries 1680] [--epochs 4]

Libraries are loaded while it is fitted, as in ``dafm train``. Memory is ``RssAnon`` of
``/proc/self/status``, looked at five times a second (Linux). Not collected by pytest.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dafm_core.fusion.channels import fuser as channel_fuser
from dafm_core.fusion.light.fuser import LightFusion
from dafm_core.store.store import SimilarityStore


class Watch:
    """Counts the CPU time of functions, and the most memory while each runs."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.mebibytes: dict[str, int] = {}
        self._part = "rest"
        threading.Thread(target=self._look, daemon=True).start()

    def on(self, home: Any, name: str) -> None:
        """Put a function of a module or class under the watch."""
        watched: Callable[..., Any] = getattr(home, name)

        def call(*values: Any, **named: Any) -> Any:
            before, self._part, start = self._part, name, time.process_time()
            try:
                return watched(*values, **named)
            finally:
                self._part = before
                spent = time.process_time() - start
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

        setattr(home, name, call)

    def _look(self) -> None:
        while True:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    now = int(line.split()[1]) >> 10
                    self.mebibytes[self._part] = max(now, self.mebibytes.get(self._part, 0))
            time.sleep(0.2)


def main() -> None:
    """Fit, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--queries", type=int, help="the first so many; all by default")
    parser.add_argument("--epochs", type=int, default=30, help="at most")
    args = parser.parse_args()
    stack = SimilarityStore.open(args.store).stack(verify=False)
    stack = stack.take_queries(stack.query_ids[: args.queries])
    watch, start = Watch(), time.process_time()
    for home, name in (
        (channel_fuser, "training_bank"),
        (channel_fuser, "make_examples"),
        (LightFusion, "_learn_spare"),
        (LightFusion, "_learn"),
    ):
        watch.on(home, name)
    fuser = LightFusion(n_epochs=args.epochs).fit(stack)
    print(
        f"{stack.n_queries} x {stack.n_gallery} x {stack.n_providers}, {fuser.n_networks_} networks"
    )
    print(f"{'whole fit':16}{time.process_time() - start:9.1f} s of CPU")
    for name in ("training_bank", "make_examples", "_learn_spare", "_learn"):
        inside = " (the linear part included)" if name == "_learn" else ""
        spent, most = watch.seconds.get(name, 0.0), watch.mebibytes.get(name, 0)
        print(f"{name:16}{spent:9.1f} s{most:9d} MiB at most{inside}")


if __name__ == "__main__":
    main()
